//! Every serialised shape: HTTP API, bus messages, plan file, events.
