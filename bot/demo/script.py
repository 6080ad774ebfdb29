"""The demo: a real homeserver, the bot, and a conversation between two people who use clients of their own.

What is printed is what these clients decrypted, nothing else. Afterwards a person may join with any Matrix client.
"""

import json
import tempfile
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from bot.demo.stage import Player, Stage, client, desk, new_person, out, serving, set_up, stay, write_configuration
from bot.demo.synapse import LocalSynapse
from bot.demo.telling import Missed, Telling


async def run(*, once: bool) -> bool:
    """Play the conversation and, unless `once`, stay until cancelled. Return whether everything arrived."""
    with tempfile.TemporaryDirectory(prefix="botschaft-demo-") as folder:
        async with LocalSynapse() as server:
            stage = await set_up(server, Path(folder))
            customer, mechanic = await new_person(server, "Anna"), await new_person(server, "Jan")
            members = [mechanic, stage.fresh_mechanic]
            admins = json.dumps([member.mxid for member in members])
            configuration = write_configuration(stage, admins=admins, more=desk("Annahme", members))
            async with serving(stage, configuration):
                async with client(stage, customer) as anna, client(stage, mechanic) as jan:
                    all_arrived = await _play(stage, anna, jan)
                if not once:
                    await stay(stage)
    return all_arrived


async def _play(stage: Stage, anna: Player, jan: Player) -> bool:
    """One conversation in both directions, encrypted, seen through two independent clients."""
    table = Table(title="One conversation, as two clients decrypted it", title_justify="left", show_lines=True)
    for column in ("room", "who", "what"):
        table.add_column(column, overflow="fold")
    told = Telling(stage, lambda *cells: table.add_row(*map(escape, cells)))
    missed = None
    try:
        await _conversation(stage, told, anna, jan)
    except Missed as error:
        missed = error
    out.print(table)
    if missed:
        out.print(f"[red]✗ did not arrive:[/red] {escape(str(missed))}")
    else:
        out.print("[green]✓[/green] Every message arrived where it should, encrypted, and the note stayed inside.")
    return missed is None


async def _conversation(stage: Stage, told: Telling, anna: Player, jan: Player) -> None:
    chat = await anna.peer.start_chat(stage.bot.mxid)
    question = "Guten Tag, meine Bremse quietscht. Wann kann ich kommen?"
    await told.writes(anna, chat, question)
    await told.arrives(anna, "Kurz zum Datenschutz")
    await told.arrives(jan, "Neuer Vorgang 1001")
    case = (await told.arrives(jan, "Vorgang 1001\nKunde")).room_id
    await told.arrives(jan, question)
    await told.writes(jan, case, ". Beläge vorn waren im März schon knapp")
    await told.arrives(jan, "🔒 Notiz")
    answer = "Morgen um 8 Uhr passt. Bitte den Fahrzeugschein mitbringen."
    await told.writes(jan, case, answer)
    await told.arrives(anna, answer)
    await told.is_called(jan, case, "🟡 1001")
    await told.writes(anna, chat, "Danke, bis morgen!")
    await told.is_called(jan, case, "🔴 1001")
    await told.arrives(jan, "Danke, bis morgen!")
    await told.writes(jan, case, "!zu")
    await told.is_called(jan, case, "✅ 1001")
    await told.arrives(jan, "Vorgang geschlossen")
    told.holds("The command stayed inside.", all("!zu" not in seen.body for seen in anna.peer.seen))
    told.holds("The note stayed inside.", all("Beläge" not in seen.body for seen in anna.peer.seen))
    told.holds("All that the bot said was encrypted.", said_encrypted(stage, anna, jan))


def said_encrypted(stage: Stage, *players: Player) -> bool:
    """Tell whether everything that the bot said to these people was encrypted."""
    seen = [seen for player in players for seen in player.peer.seen]
    return all(one.encrypted for one in seen if one.sender == stage.bot.mxid and one.msgtype)
