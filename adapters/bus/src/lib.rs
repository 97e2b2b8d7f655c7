//! Messages between services: subjects in one list, carried in process.
