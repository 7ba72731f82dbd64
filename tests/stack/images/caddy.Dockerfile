# Stands in for caddy:2 where that cannot be pulled: the same capability on the program.
FROM debian:trixie-slim
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends caddy libcap2-bin \
    && setcap cap_net_bind_service=+ep /usr/bin/caddy \
    && rm -rf /var/lib/apt/lists/*
CMD ["caddy", "version"]
