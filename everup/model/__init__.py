"""The nouns of Everup: frozen values without behaviour, importable from everywhere."""
