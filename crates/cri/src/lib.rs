//! Protocol: CRI v1 messages, client and server glue.
