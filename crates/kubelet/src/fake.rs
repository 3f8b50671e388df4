//! A small CRI server in memory, for tests.
