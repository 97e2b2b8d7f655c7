//! Authoritative DNS server that steers mapping requests.
