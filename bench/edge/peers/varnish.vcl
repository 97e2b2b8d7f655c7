vcl 4.1;
# Varnish as it comes: its built-in rules, one origin. It has no TLS. It always writes its log in
# shared memory.
backend origin {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}
