// A Matrix client on the encryption that Element Web runs (matrix-js-sdk with its Rust crypto), driven over pipes.
//
//   in   {"id": 1, "command": "login", "url": "http://127.0.0.1:8008", "user": "anna", "password": "..."}
//   out  {"id": 1, "result": {...}}  or  {"id": 1, "error": "...", "name": "..."}
//   out  {"event": "message", ...}   whatever happens by itself
//
// Its keys live in memory: every process is a new device. With `keeps` all it has outlasts the client object (`restart`).
// Logs go to stderr, and only with ELEMENT_LOG=1.

import readline from "node:readline";

import { keptStore, opinionOf, replaceIdentity, secretsOf, takeSecrets, vouchFor } from "./keys.mjs";

// The SDK asks for Node 22. This is all that it uses and Node 20 lacks.
Promise.withResolvers ??= function withResolvers() {
    const parts = {};
    parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
};

// Standard output belongs to the protocol; the SDK and its WebAssembly log through the console.
for (const level of ["log", "info", "warn", "error", "debug", "trace"]) {
    console[level] = (...words) => process.env.ELEMENT_LOG && process.stderr.write(`${level}: ${words.join(" ")}\n`);
}

const { createClient } = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
const { AllDevicesIsolationMode, OnlySignedDevicesIsolationMode, EventShieldColour, EventShieldReason, VerificationPhase } =
    await import("matrix-js-sdk/lib/crypto-api/index.js");
logger.setLevel?.(process.env.ELEMENT_LOG ? "debug" : "silent");

const POLL_EVERY_MS = 25;
const ENCRYPTION = { algorithm: "m.megolm.v1.aes-sha2" };
const MODES = {
    normal: () => new AllDevicesIsolationMode(false),
    error_on_verified_problems: () => new AllDevicesIsolationMode(true),
    exclude_insecure: () => new OnlySignedDevicesIsolationMode(),
};

let client;
let account;
const verifications = new Map(); // what the person holding this phone sees, by transaction

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const nameOf = (names, value) => Object.keys(names).find((name) => names[name] === value) ?? null;

async function poll(check, withinMs) {
    const deadline = Date.now() + withinMs;
    for (;;) {
        const found = await check();
        if (found || Date.now() > deadline) return found;
        await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
    }
}

async function request(method, path, body) {
    const response = await fetch(account.url + path, {
        method,
        headers: { Authorization: `Bearer ${account.token}`, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : null };
}

// What Element would draw beside a message: colour NONE, GREY or RED, and why.
async function shieldOf(event) {
    if (!event.isEncrypted() || event.isDecryptionFailure()) return null;
    const info = await client.getCrypto().getEncryptionInfoForEvent(event);
    if (info === null) return null;
    const reason = info.shieldReason === null ? null : nameOf(EventShieldReason, info.shieldReason);
    return { colour: nameOf(EventShieldColour, info.shieldColour), reason };
}

async function describe(event) {
    const failed = event.isDecryptionFailure();
    return {
        event_id: event.getId(),
        room_id: event.getRoomId(),
        sender: event.getSender(),
        type: event.getType(),
        wire_type: event.getWireType(),
        content: event.getContent(),
        wire_content: event.getWireContent(),
        state_key: event.getStateKey() ?? null,
        encrypted: event.isEncrypted(),
        decryption_failure: failed ? (event.decryptionFailureReason ?? "UNKNOWN") : null,
        shield: await shieldOf(event),
    };
}

function watch(autojoin) {
    client.on("Room.myMembership", async (room, membership) => {
        say({ event: "membership", room_id: room.roomId, membership });
        if (membership === "invite" && autojoin) await client.joinRoom(room.roomId);
    });
    client.on("Room.timeline", async (event, room, toStartOfTimeline, removed, data) => {
        if (toStartOfTimeline || !data?.liveEvent) return;
        await event.getDecryptionPromise();
        say({ event: "message", ...(await describe(event)) });
    });
    // Comes again when the key of an unreadable event arrives.
    client.on("Event.decrypted", async (event) => say({ event: "decrypted", ...(await describe(event)) }));
    client.on("Room.redaction", (event) => say({ event: "redaction", event_id: event.getId(), redacts: event.getAssociatedId() }));
    client.on("Room.receipt", (event, room) => say({ event: "receipt", room_id: room.roomId, content: event.getContent() }));
}

// Says every change of a verification, and what its pictures are once there are any.
function follow(request) {
    const key = request.transactionId;
    const state = { request, shown: null };
    verifications.set(key, state);
    const tell = () => {
        say({ event: "verification", key, phase: nameOf(VerificationPhase, request.phase), cancel_code: request.cancellationCode });
        if (!request.verifier || state.verifying) return;
        state.verifying = true;
        request.verifier.on("show_sas", (shown) => {
            state.shown = shown;
            say({ event: "pictures", key, emoji: shown.sas.emoji, decimal: shown.sas.decimal });
        });
        request.verifier.verify().catch((error) => say({ event: "verification_failed", key, error: String(error?.message ?? error) }));
    };
    request.on("change", tell);
    tell();
    return { key };
}

// Makes the client object and returns when it has synced.
async function begin() {
    const { url, token, userId, deviceId, mode = "normal", autojoin = true, keeps = false } = account;
    const store = keeps ? await keptStore(deviceId) : undefined;
    client = createClient({ baseUrl: url, accessToken: token, userId, deviceId, store });
    await client.initRustCrypto({ useIndexedDB: keeps });
    client.getCrypto().setDeviceIsolationMode(MODES[mode]());
    watch(autojoin);
    const prepared = new Promise((resolve) => {
        client.on("sync", (state, _, about) => ["PREPARED", "SYNCING"].includes(state) && !about?.fromCache && resolve());
    });
    await store?.startup();
    await client.startClient({ initialSyncLimit: 50, lazyLoadMembers: true });
    await prepared;
}

// A first identity needs no password; a second one for the same account would, and is a mistake in a test.
async function crossSign() {
    const crypto = client.getCrypto();
    if (await crypto.userHasCrossSigningKeys(account.userId, true)) throw new Error("the account has an identity already");
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: async (upload) => upload(null) });
    if (!(await crypto.isCrossSigningReady())) throw new Error("cross-signing did not become ready");
}

function eventIn(roomId, eventId) {
    return client.getRoom(roomId)?.findEventById(eventId) ?? null;
}

const commands = {
    async login({ url, user, password, cross_sign = true, secrets = null, device_name = "element", ...choices }) {
        const response = await fetch(`${url}/_matrix/client/v3/login`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({
                type: "m.login.password",
                identifier: { type: "m.id.user", user },
                password,
                initial_device_display_name: device_name,
            }),
        });
        const answer = await response.json();
        if (!response.ok) throw new Error(`login: ${answer.errcode} ${answer.error}`);
        account = { url, token: answer.access_token, userId: answer.user_id, deviceId: answer.device_id, ...choices };
        await begin();
        if (secrets) await takeSecrets(client, secrets);
        else if (cross_sign) await crossSign();
        return { user_id: account.userId, device_id: account.deviceId, crypto: client.getCrypto().getVersion() };
    },

    // Ends the client object. What comes meanwhile waits on the server until `restart`.
    async rest() {
        if (!account.keeps) throw new Error("without keeps nothing would be left");
        await client.store.save(true);
        client.stopClient();
        return null;
    },

    async restart() {
        await commands.rest();
        await begin();
        return null;
    },

    secrets: () => secretsOf(client),

    replace_identity: ({ password }) => replaceIdentity(client, password),

    vouch_for: ({ user_id }) => vouchFor(client, user_id),

    opinion: ({ user_id }) => opinionOf(client, user_id),

    // The next message there needs a new session, whose key goes to everybody anew.
    new_session: ({ room_id }) => client.getCrypto().forceDiscardSession(room_id),

    async create_room({ invite = [], encrypted = true, name, is_direct = true }) {
        const state = encrypted ? [{ type: "m.room.encryption", state_key: "", content: ENCRYPTION }] : [];
        const options = { invite, name, is_direct, preset: "trusted_private_chat", initial_state: state };
        const { room_id } = await client.createRoom(options);
        const known = async () => client.getRoom(room_id) && (!encrypted || (await client.getCrypto().isEncryptionEnabledInRoom(room_id)));
        if (!(await poll(known, 10_000))) throw new Error("the new room did not appear");
        return { room_id };
    },

    async join({ room_id }) {
        const room = await client.joinRoom(room_id);
        return { room_id: room.roomId };
    },

    leave: ({ room_id }) => client.leave(room_id),

    // Refuses what the SDK would do in silence: to write in clear because the room's encryption is not known yet.
    async text({ room_id, body, html, reply_to, encrypted = true }) {
        const known = () => client.getCrypto().isEncryptionEnabledInRoom(room_id);
        if (encrypted && !(await poll(known, 10_000))) throw new Error("the room is not encrypted");
        const content = { msgtype: "m.text", body };
        if (html) Object.assign(content, { format: "org.matrix.custom.html", formatted_body: html });
        if (reply_to) content["m.relates_to"] = { "m.in_reply_to": { event_id: reply_to } };
        return client.sendEvent(room_id, "m.room.message", content);
    },

    send: ({ room_id, type, content, transaction_id }) => client.sendEvent(room_id, type, content, transaction_id),

    react({ room_id, event_id, key }) {
        return client.sendEvent(room_id, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id, key } });
    },

    redact: ({ room_id, event_id, reason }) => client.redactEvent(room_id, event_id, undefined, { reason }),

    async members({ room_id }) {
        const room = client.getRoom(room_id);
        await room.loadMembersIfNeeded();
        return room.getMembers().map((member) => ({ user_id: member.userId, membership: member.membership, name: member.name }));
    },

    async state({ room_id, type, state_key = "" }) {
        const event = client.getRoom(room_id)?.currentState.getStateEvents(type, state_key);
        return event?.getContent() ?? null;
    },

    // Returns the event in clear; with `decryption_failure` if its key did not come in time; null if it never appeared.
    async decrypt_wait({ room_id, event_id, within_ms = 10_000 }) {
        await poll(() => {
            const event = eventIn(room_id, event_id);
            return event && event.getType() !== "m.room.encrypted" && !event.isDecryptionFailure();
        }, within_ms);
        const event = eventIn(room_id, event_id);
        return event && describe(event);
    },

    async timeline({ room_id, limit = 50 }) {
        const events = client.getRoom(room_id)?.getLiveTimeline().getEvents() ?? [];
        await Promise.all(events.map((event) => event.getDecryptionPromise()));
        return Promise.all(events.slice(-limit).map(describe));
    },

    // "Verify user" of Element: in a room; "Verify device": from device to device.
    verify_user: async ({ user, room_id }) => {
        await client.getCrypto().getUserDeviceInfo([user], true);
        return follow(await client.getCrypto().requestVerificationDM(user, room_id));
    },

    verify_device: async ({ user, device }) => {
        await client.getCrypto().getUserDeviceInfo([user], true);
        return follow(await client.getCrypto().requestDeviceVerification(user, device));
    },

    // What Element does by itself once the other side is ready.
    start_sas: async ({ key }) => void (await verifications.get(key).request.startVerification("m.sas.v1")),
    they_match: async ({ key }) => void (await verifications.get(key).shown.confirm()),
    they_differ: ({ key }) => void verifications.get(key).shown.mismatch(),
    stop_verifying: async ({ key }) => void (await verifications.get(key).request.cancel()),

    async trust_in({ user, device }) {
        const crypto = client.getCrypto();
        await crypto.getUserDeviceInfo([user], true);
        const [person, machine] = [await crypto.getUserVerificationStatus(user), await crypto.getDeviceVerificationStatus(user, device)];
        return { user: person.isVerified(), device: machine?.isVerified() ?? false };
    },

    raw: ({ method = "GET", path, body }) => request(method, path, body),

    async stop() {
        client?.stopClient();
        return null;
    },
};

async function obey(line) {
    const { id, command, ...choices } = JSON.parse(line);
    try {
        if (!Object.hasOwn(commands, command)) throw new Error(`there is no command ${command}`);
        say({ id, result: (await commands[command](choices)) ?? null });
    } catch (error) {
        say({ id, error: String(error?.message ?? error), name: error?.name ?? null });
    }
    if (command === "stop") leave();
}

// Ends when everything said has been written; also when the other side of the pipe is gone.
function leave() {
    client?.stopClient();
    process.stdout.write("", () => process.exit(0));
}

process.on("unhandledRejection", (error) => say({ event: "unhandled_rejection", error: String(error?.message ?? error) }));
const input = readline.createInterface({ input: process.stdin });
input.on("line", obey);
input.on("close", leave);
say({ event: "ready" });
