# One image for every process; the subcommand selects it:
#   docker build -t flash-sale .
#   docker run --rm flash-sale --help
#
# Debian instead of Alpine: uWebSockets.js is a native library that needs glibc.
ARG NODE_IMAGE=node:22-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json ./
COPY patches ./patches
# Omits the development packages, among them `node`. No production package has an install script.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && npm exec --offline patch-package -- --error-on-fail
# The package has one library per platform and Node version; this image keeps the one that it loads.
RUN find node_modules/uWebSockets.js/dist/bin -name '*.node' \
      ! -name "uws_linux_$(node -p process.arch)_$(node -p process.versions.modules).node" -delete \
 && node --input-type=module --eval "import { App } from 'uWebSockets.js'; App();"

FROM ${NODE_IMAGE}
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY migrations ./migrations
COPY src ./src
# The image's user `node`, as a number: Kubernetes can only check a number against root.
USER 1000:1000
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
# A container runs one process, so one of the three ports responds. The image has no curl, but Node has fetch.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "--eval", "const { HOT_PATH_PORT = 8080, ADMIN_PORT = 8081, PERSISTER_PORT = 8082 } = process.env; const live = async (port) => { if (!(await fetch(`http://127.0.0.1:${port}/healthz`)).ok) throw new Error('not live'); }; Promise.any([HOT_PATH_PORT, ADMIN_PORT, PERSISTER_PORT].map(live)).then(() => process.exit(0), () => process.exit(1));"]
ENTRYPOINT ["node", "src/main.ts"]
CMD ["--help"]
