# Node 26 is the LTS line since October 2026, until April 2029. The major is pinned; each build takes its newest patch.
FROM node:26-slim AS base
WORKDIR /app

FROM base AS dependencies
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts

FROM base AS production-dependencies
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev --omit=optional

FROM dependencies AS build
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
COPY dev ./dev
# The demo is for the package: its identity provider, where anybody signs in, has no place in the image. The rest starts in two thirds
# of the time when it is in a few files.
RUN npm run build && rm -r dist/dev && node scripts/bundle.js

# The server with its embedded identity provider, where anybody signs in as anybody: for one computer, never deployed.
FROM dependencies AS demo
COPY src ./src
COPY dev ./dev
# Published ports arrive at the container's own address; the URLs in browser and server both say localhost.
ENV DEMO_HOST=0.0.0.0
ENV PORT=3100
USER 1000:1000
EXPOSE 3100 3101
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--import", "tsx", "dev/demo/demo.ts"]

# The last stage is what `docker build .` makes.
FROM base AS production
ENV NODE_ENV=production
# V8 gives short-lived objects 1 MB where a container has little memory, and then cleans up all the time: a call took up to twice the
# processor time. This is the most that each of three spaces may have, not what they begin with.
ENV NODE_OPTIONS=--max-semi-space-size=16
COPY package.json ./
COPY --from=production-dependencies /app/node_modules ./node_modules
# What OTEL_EXPORTER_OTLP_ENDPOINT needs, optional elsewhere; it depends on packages of its own scope alone.
COPY --from=dependencies /app/node_modules/@opentelemetry ./node_modules/@opentelemetry
COPY --from=build /app/dist ./dist
# `docker run … doctor`, and `exec … doctor` in a container that runs.
RUN for name in doctor admin; do printf '#!/bin/sh\nexec node /app/dist/src/cli/%s.js "$@"\n' $name > /usr/local/bin/$name && chmod 755 /usr/local/bin/$name; done
# What Node makes of the modules is kept beside them, which saves a start a fifth. Node looks for it by the number of its user, so that
# user makes it here; whoever runs the image as another one has a start as without.
RUN mkdir -m 777 dist/.compile-cache \
  && setpriv --reuid=1000 --regid=1000 --clear-groups node dist/src/cli/start.js --help > /dev/null \
  && chown -R root:root dist/.compile-cache && chmod -R a+rX,go-w dist/.compile-cache
# The image's user `node`, by number: Kubernetes' runAsNonRoot cannot check a name. It may read these files, not write.
USER 1000:1000
EXPOSE 3000
# Alive, not ready: a Redis outage must not get the server killed. For routing decisions ask /readyz.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# `docker run … --server URL`: options are the server's. Everything else is a program: doctor, admin, node.
ENTRYPOINT ["sh", "-c", "case $1 in -*) exec node dist/src/cli/start.js \"$@\";; *) exec \"$@\";; esac", "sh"]
# node itself in the end, so that SIGTERM reaches it: npm and a shell would keep it for themselves.
CMD ["node", "dist/src/cli/start.js"]
