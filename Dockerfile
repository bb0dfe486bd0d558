# Docker builds this with BuildKit and without. coffer needs no cgo, so one machine builds for all:
# docker buildx build --platform linux/amd64,linux/arm64 .
ARG BUILDPLATFORM
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# BuildKit says for what to build; empty is the machine that builds.
ARG TARGETOS TARGETARCH
ARG VERSION=0.1.0-dev COMMIT=unknown DATE=1970-01-01T00:00:00Z
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE" -o /out/coffer ./cmd/coffer

# The official Helm chart of Vault needs more than a bare binary: it starts the server through /bin/sh with cp and
# sed, stops it with `kill $(pidof vault)`, probes it with `vault status`, and runs it as user 100, group 1000.
# Busybox is the smallest image that has those commands.
FROM busybox:1.37-musl
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/coffer /bin/coffer
COPY deploy/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN ln -s coffer /bin/vault \
    && addgroup -g 1000 vault && adduser -D -H -u 100 -G vault -h /home/vault vault \
    && mkdir -p /home/vault /vault/config /vault/data /vault/file /vault/logs \
    && chown -R vault:vault /home/vault /vault
ENV HOME=/home/vault
VOLUME ["/vault/data", "/vault/file", "/vault/logs"]
EXPOSE 8200 8201
# Started as root, as without a user of its own in `docker run`, compose file or pod, the entry point gives the mounted
# folders to the user vault (100:1000) and becomes it.
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
# The development server: everything in memory, unsealed, root token in the log.
CMD ["server", "-dev", "-dev-listen-address=0.0.0.0:8200", "-dev-no-store-token"]
