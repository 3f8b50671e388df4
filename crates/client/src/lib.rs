//! Library: connections, informers, queues, events and leader election.
