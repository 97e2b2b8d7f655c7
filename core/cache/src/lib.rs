//! What HTTP allows a shared cache to do (RFC 9111).
