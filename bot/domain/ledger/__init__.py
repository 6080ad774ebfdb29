"""The ledger: what was consented to, kept so that nobody can change it unseen. Its tables: `bot.store.ledger`."""
