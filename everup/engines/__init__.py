"""Where nodes run: one file or small folder per engine, each held to the contract in `everup.model.contracts`."""
