# One image for every process; the subcommand selects it:
#   docker build -t flash-sale .
#   docker run --rm flash-sale --help
#
# Debian instead of Alpine: uWebSockets.js is a native library that needs glibc. All of the engine adds 44 MB to the base:
# 42 MB of packages (7 MB of them uWebSockets.js) and 2 MB of its own.
#
# The base has the same Node as the package `node` (a test compares them). A tag can be moved, a digest cannot:
#   docker buildx imagetools inspect node:22.23.3-bookworm-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg NODE_IMAGE=node:22.23.3-bookworm-slim@sha256:… -t flash-sale .
# For equal images from equal commits, also fix every time (releases do both, .github/workflows/release.yml):
#   docker buildx build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" \
#     --output type=image,name=flash-sale,rewrite-timestamp=true .
ARG NODE_IMAGE=node:22.23.3-bookworm-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json ./
COPY patches ./patches
# Omits the development packages, among them `node`. No production package has an install script.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && npm exec --offline patch-package -- --error-on-fail
# The patches are applied, so the 51 packages that apply them can go; so can files that only tools read. The declarations
# of uWebSockets.js stay, because they have upstream's licence.
RUN npm uninstall --no-save --omit=dev --ignore-scripts --offline --no-audit --no-fund patch-package \
 && find node_modules -type f ! -path '*/uWebSockets.js/*' \
      \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
# The package has one library per platform and Node version; this image keeps the one that it loads, if it is the
# recorded one (docs/NODE.md).
COPY scripts/native-libraries.sha256 ./
WORKDIR /app/node_modules/uWebSockets.js/dist/bin
RUN find . -name '*.node' \
      ! -name "uws_linux_$(node -p process.arch)_$(node -p process.versions.modules).node" -delete \
 && sha256sum --check --ignore-missing /app/native-libraries.sha256
WORKDIR /app
RUN node --input-type=module --eval "import { App } from 'uWebSockets.js'; App();"

FROM ${NODE_IMAGE}
ARG NODE_IMAGE
ARG VERSION=unreleased
ARG REVISION=unknown
ARG SOURCE=unknown
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY migrations ./migrations
COPY src ./src
LABEL org.opencontainers.image.title="flash-sale" \
      org.opencontainers.image.description="A flash-sale engine: never oversells, first come, first served" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${NODE_IMAGE}"
# The image's user `node`, as a number: Kubernetes can only check a number against root.
USER 1000:1000
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
# A container runs one process, so one of the three ports responds. The image has no curl, but Node has fetch.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "--eval", "const { HOT_PATH_PORT = 8080, ADMIN_PORT = 8081, PERSISTER_PORT = 8082 } = process.env; const live = async (port) => { if (!(await fetch(`http://127.0.0.1:${port}/healthz`)).ok) throw new Error('not live'); }; Promise.any([HOT_PATH_PORT, ADMIN_PORT, PERSISTER_PORT].map(live)).then(() => process.exit(0), () => process.exit(1));"]
ENTRYPOINT ["node", "src/main.ts"]
CMD ["--help"]
