"""Fan-out: from the tail to many sockets, beside the limit and the peers."""
