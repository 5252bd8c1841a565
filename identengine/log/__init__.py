"""What the server writes to its log: events with fields, where they go, and how often rejects may be repeated."""
