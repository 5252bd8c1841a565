"""The engine that a telephone switch asks, for every call: whose call is this, and may it pass?"""  # noqa: D400 - it is a question
