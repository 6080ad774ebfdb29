// What people do with their keys in years: a restart, a second device, a new identity. And how they see those of others.

// A store that outlasts the client object, for keys and for what was synced, as a browser's; it ends with the process.
// Without what was synced a client would begin anew, and Synapse answers that from its memory of the last two minutes.
export async function keptStore(name) {
    await import("fake-indexeddb/auto");
    const { IndexedDBStore } = await import("matrix-js-sdk");
    return new IndexedDBStore({ indexedDB: globalThis.indexedDB, dbName: name });
}

// What one device hands another when its owner verifies it: the private halves of the identity.
export const secretsOf = (client) => client.getCrypto().exportSecretsBundle();

// Takes the identity of another device of the same person and signs this one with it.
export async function takeSecrets(client, secrets) {
    const crypto = client.getCrypto();
    if (!(await crypto.userHasCrossSigningKeys(client.getUserId(), true))) throw new Error("the account has no identity");
    await crypto.importSecretsBundle(secrets);
    await crypto.crossSignDevice(client.getDeviceId());
    if (!(await crypto.isCrossSigningReady())) throw new Error("the new device did not become signed");
}

// Has the client look at somebody's keys now, and not when a sync says so.
async function lookAt(client, userId) {
    const { UserId } = await import("@matrix-org/matrix-sdk-crypto-wasm");
    const crypto = client.getCrypto();
    const query = crypto.getOlmMachineOrThrow().queryKeysForUsers([new UserId(userId)]);
    await crypto.outgoingRequestProcessor.makeOutgoingRequest(query);
}

// Gives the account another identity; the server wants the password for it.
export async function replaceIdentity(client, password) {
    const identifier = { type: "m.id.user", user: client.getUserId() };
    await client.getCrypto().bootstrapCrossSigning({
        setupNewCrossSigning: true,
        authUploadDeviceSigningKeys: async (upload) => {
            try {
                return await upload(null);
            } catch (error) {
                if (error.httpStatus !== 401) throw error;
                return upload({ type: "m.login.password", identifier, password, session: error.data.session });
            }
        },
    });
}

// What this client thinks of somebody: whether Element would show a banner, and which devices their owner has signed.
export async function opinionOf(client, userId) {
    const crypto = client.getCrypto();
    const status = await crypto.getUserVerificationStatus(userId);
    const devices = (await crypto.getUserDeviceInfo([userId], true)).get(userId) ?? new Map();
    const signed = async (id) => [id, (await crypto.getDeviceVerificationStatus(userId, id))?.signedByOwner ?? false];
    return {
        known: status.known,
        verified: status.isVerified(),
        needs_approval: status.needsUserApproval,
        devices: Object.fromEntries(await Promise.all([...devices.keys()].map(signed))),
    };
}

// Signs the identity of somebody to whom this client has written, as comparing emoji with them does. From then on a
// change of it stops the strict modes.
export async function vouchFor(client, userId) {
    const { UserId } = await import("@matrix-org/matrix-sdk-crypto-wasm");
    const crypto = client.getCrypto();
    const identity = await crypto.getOlmMachineOrThrow().getIdentity(new UserId(userId));
    if (!identity) throw new Error(`this client knows no identity of ${userId}`);
    await crypto.outgoingRequestProcessor.makeOutgoingRequest(await identity.verify());
    await lookAt(client, userId);
    if (!(await crypto.getUserVerificationStatus(userId)).isVerified()) throw new Error(`${userId} did not become verified`);
}
