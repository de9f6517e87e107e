/**
 * What lies in deploy/ works: its proxies run here as they are shipped, with other ports, in front of two real server
 * processes; the manifests agree with each other, with the code and with .env.example.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { parse, parseAllDocuments } from "yaml";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { loadConfig } from "../../src/config/config.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { serve } from "../../src/server/serve.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { held } from "../support/held.ts";
import {
  callTool,
  getJson,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { type ServerProcess, startServerProcess } from "../support/server-process.ts";
import { ALICE, AUDIENCE, SECRET_KEY, startTestServer } from "../support/test-server.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));
const example = readFileSync(join(deploy, "../.env.example"), "utf8");
const settings = new Set([...example.matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name));
interface Proxy {
  /** In deploy/. */
  file: string;
  /** Of BASE_URL. */
  path: string;
  program: "haproxy" | "nginx";
  /** Its arguments, after its files were written into `folder`. */
  configure(folder: string, port: string, replicas: readonly number[]): string[];
  /** Asks /readyz, and so knows of a replica that is about to stop. */
  asksReadiness?: boolean;
}

const proxies: Proxy[] = [
  {
    file: "compose/haproxy.cfg",
    path: "",
    program: "haproxy",
    configure: configureHaproxy,
    asksReadiness: true,
  },
  ...["nginx/path-kept.conf", "nginx/path-stripped.conf"].map(
    (file): Proxy => ({
      file,
      path: "/tools",
      program: "nginx",
      configure: (folder, port, replicas) => configureNginx(file, folder, port, replicas),
    }),
  ),
];

for (const proxy of proxies)
  describe(`deploy/${proxy.file} before two replicas`, {
    skip: skipWithout(proxy.program) || skipWithoutRedisServer(),
  }, () => {
    let site: Site;
    before(async () => {
      site = await startSite(proxy);
    });
    after(() => site.stop());

    test("a whole session: metadata, registration, sign-in, call, refresh", async () => {
      const { baseUrl } = site;
      const { origin } = new URL(baseUrl);
      const resource = await getJson(`${origin}/.well-known/oauth-protected-resource${proxy.path}/mcp`);
      assert.equal(resource.resource, `${baseUrl}/mcp`);
      for (const document of ["oauth-authorization-server", "openid-configuration"])
        assert.equal((await getJson(`${origin}/.well-known/${document}${proxy.path}`)).issuer, baseUrl);
      const client = await register(baseUrl);
      const tokens = await signInForTokens(baseUrl, client);
      for (let call = 0; call < 4; call++) {
        const answer = await callTool(`${baseUrl}/mcp`, tokens.access_token, "whoami");
        assert.equal(answer.body.result.structuredContent.subject, "alice");
      }
      assert.equal((await refresh(baseUrl, client, tokens.refresh_token)).status, 200);
      assert.equal((await fetch(baseUrl)).status, 200, "the home page, without a slash");
    });

    test("limits per address see the client, whatever it claims to be", async () => {
      const [one, another] = ["127.0.0.7", "127.0.0.8"];
      for (let count = 0; count < REGISTRATIONS; count++)
        assert.equal(await registerFrom(one, site.baseUrl), 201);
      assert.equal(await registerFrom(one, site.baseUrl), 429);
      assert.equal(await registerFrom(one, site.baseUrl, { "x-forwarded-for": "203.0.113.9" }), 429);
      assert.equal(await registerFrom(another, site.baseUrl, { "x-forwarded-for": one }), 201);
    });

    test("a stream's bytes arrive before the tool has ended", async (t) => {
      const { access_token } = await signInForTokens(site.baseUrl, site.client);
      const end = held();
      t.after(() => end.letGo());
      const port = await site.replicaWithTool(
        defineTool({
          name: "slow",
          description: "Says that it is half-way, and waits",
          async run(_input, { progress }) {
            await progress(1, 2);
            await end.wait();
            return "done";
          },
        }),
      );
      const { baseUrl } = await site.proxyBefore([port]);
      const response = await fetch(`${baseUrl}/mcp`, {
        method: "POST",
        signal: AbortSignal.timeout(5_000),
        headers: {
          authorization: `Bearer ${access_token}`,
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
        },
        body: JSON.stringify({
          jsonrpc: "2.0",
          id: 1,
          method: "tools/call",
          params: { name: "slow", arguments: {}, _meta: { progressToken: 1 } },
        }),
      });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let seen = "";
      while (!seen.includes("notifications/progress")) seen += (await reader?.read())?.value ?? "";
      assert.doesNotMatch(seen, /done/);
      end.letGo();
      for (let chunk = await reader?.read(); chunk?.done === false; chunk = await reader?.read())
        seen += chunk.value;
      assert.match(seen, /done/);
    });

    test("a body of 1 MB passes, a larger one does not", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, site.client);
      const send = (characters: number) =>
        callTool(`${site.baseUrl}/mcp`, access_token, "say_hello", { name: "x".repeat(characters) });
      assert.equal((await send(1024 * 1024 - 200)).status, 200);
      assert.equal((await send(1024 * 1024 + 200)).status, 413);
    });

    // nginx does not check readiness: a request may reach a replica that is shutting down.
    if (proxy.asksReadiness)
      test("restarting one replica after the other loses nobody's call", async () => {
        const { access_token } = await signInForTokens(site.baseUrl, site.client);
        const statuses: number[] = [];
        let restarting = true;
        const callers = Array.from({ length: 4 }, async () => {
          while (restarting)
            statuses.push((await callTool(`${site.baseUrl}/mcp`, access_token, "whoami")).status);
        });
        for (const replica of site.replicas) {
          const before = statuses.length;
          assert.equal(await replica.stop(), 0);
          await replica.start();
          await until(async () => (await fetch(`${replica.url}/readyz`)).ok);
          await delay(NOTICED_MS);
          assert.ok(statuses.length > before, "calls went on meanwhile");
        }
        restarting = false;
        await Promise.all(callers);
        assert.deepEqual(
          statuses.filter((status) => status !== 200),
          [],
        );
      });

    test("a replica that was killed is missed by nobody, not even for a moment", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, site.client);
      const [replica] = site.replicas;
      await replica?.kill();
      for (let call = 0; call < 10; call++)
        assert.equal((await callTool(`${site.baseUrl}/mcp`, access_token, "whoami")).status, 200);
      await replica?.start();
    });

    test("without Redis, who was here a moment ago goes on, and others are told when to come back", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, site.client);
      for (const { url } of site.replicas)
        assert.equal((await callTool(`${url}/mcp`, access_token, "whoami")).status, 200);
      await site.redis.kill();
      await delay(NOTICED_MS);
      assert.equal((await callTool(`${site.baseUrl}/mcp`, access_token, "whoami")).status, 200);
      const unknown = await callTool(`${site.baseUrl}/mcp`, `mcp_at_${"A".repeat(65)}`, "whoami");
      assert.equal(unknown.status, 503);
      assert.ok(Number(unknown.headers.get("retry-after")) > 0);
    });
  });

describe("deploy/compose/compose.yaml", () => {
  const { services, networks } = parse(readFileSync(join(deploy, "compose/compose.yaml"), "utf8"), {
    merge: true,
  });
  const replicas = Object.keys(services).filter((name) => name.startsWith("server-"));
  const proxyFile = readFileSync(join(deploy, "compose/haproxy.cfg"), "utf8");

  test("replicas get every setting from .env, and what stands beside it exists", () => {
    assert.ok(replicas.length >= 2);
    for (const name of replicas) {
      assert.equal(services[name].env_file, ".env");
      for (const setting of Object.keys(services[name].environment))
        assert.ok(settings.has(setting), setting);
    }
  });

  test("the proxy knows every replica, and the replicas trust the proxy alone", () => {
    const address = services.proxy.networks.edge.ipv4_address;
    const [subnet] = networks.edge.ipam.config.map(({ subnet }: { subnet: string }) => subnet);
    const net = subnet.replace(/0\/24$/, "");
    assert.ok(address.startsWith(net));
    const known = [...proxyFile.matchAll(/^ *server \S+ (\S+)/gm)].map(([, server]) => server);
    const theirs = replicas.map((name) => services[name].networks.edge.ipv4_address);
    assert.deepEqual([...new Set(known)].sort(), theirs.map((each) => `${each}:3000`).sort());
    for (const name of replicas) {
      const { TRUSTED_PROXIES, PORT } = services[name].environment;
      assert.equal(TRUSTED_PROXIES, address);
      assert.equal(PORT, 3000);
      assert.equal(services[name].ports, undefined, "nobody gets past the proxy");
    }
    assert.deepEqual(services.redis.networks, ["storage"]);
    assert.equal(networks.storage.internal, true);
  });

  test("is stopped with more patience than it needs", () => {
    for (const name of replicas) {
      const { SHUTDOWN_DELAY_SECONDS, SHUTDOWN_SECONDS } = services[name].environment;
      assert.ok(seconds(services[name].stop_grace_period) > SHUTDOWN_DELAY_SECONDS + SHUTDOWN_SECONDS);
      const [, interval, fall] = /check inter (\d+)s fall (\d+)/.exec(proxyFile) ?? [];
      assert.ok(SHUTDOWN_DELAY_SECONDS > Number(interval) * Number(fall), "the proxy hears of it before");
    }
    const [, hardStop] = /hard-stop-after (\d+s)/.exec(proxyFile) ?? [];
    assert.ok(seconds(services.proxy.stop_grace_period) > seconds(hardStop));
  });

  test("Redis writes down what it is given, and drops nothing", () => {
    const command = services.redis.command.join(" ");
    assert.match(command, /--appendonly yes/);
    assert.match(command, /--maxmemory-policy noeviction/);
    assert.deepEqual(services.redis.volumes, ["redis-data:/data"]);
  });

  test("no container may more than it needs", () => {
    for (const [name, service] of Object.entries<Record<string, unknown>>(services)) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ["ALL"], name);
      assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    }
  });

  test("is accepted by compose", (t) => {
    const command = [["docker", "compose"], ["docker-compose"]].find(
      ([program = "", ...args]) => spawnSync(program, [...args, "version"]).status === 0,
    );
    if (command === undefined)
      return t.diagnostic("left out: neither docker compose nor docker-compose is here");
    const folder = mkdtempSync(join(tmpdir(), "compose-"));
    t.after(() => rmSync(folder, { recursive: true }));
    cpSync(join(deploy, "compose"), folder, { recursive: true });
    writeFileSync(join(folder, ".env"), example);
    const [program = "", ...args] = command;
    const result = spawnSync(program, [...args, "config", "-q"], { cwd: folder, encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
  });
});

describe("deploy/kubernetes", () => {
  const folder = join(deploy, "kubernetes");
  const documents = new Map(
    readdirSync(folder).map((file) => {
      const parsed = parseAllDocuments(readFileSync(join(folder, file), "utf8"));
      assert.deepEqual([parsed.length, parsed[0]?.errors], [1, []], `${file}: one document`);
      return [file, parsed[0]?.toJS()];
    }),
  );
  // biome-ignore lint/suspicious/noExplicitAny: manifests have every shape
  const only = (kind: string): any => {
    const found = [...documents.values()].filter((document) => document.kind === kind);
    assert.equal(found.length, 1, `one ${kind}`);
    return found[0];
  };
  const configMap = (name: string) =>
    [...documents.values()].find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === name);
  const deployment = only("Deployment");
  const pod = deployment.spec.template.spec;
  const [container] = pod.containers;
  const labels = deployment.spec.template.metadata.labels;
  const fromMap = configMap("mcp-oidc-proxy-settings").data;

  test("the kustomization names every file, and nothing sets a namespace of its own", () => {
    const { resources, images } = only("Kustomization");
    const files = [...documents.keys()].filter((file) => file !== "kustomization.yaml");
    assert.deepEqual([...resources].sort(), files.sort());
    assert.deepEqual(
      images.map(({ name }: { name: string }) => name),
      [container.image],
    );
    for (const file of files) assert.equal(documents.get(file).metadata.namespace, undefined);
  });

  test("selectors find the pods, names what they name, and ports the container's", () => {
    const selectors = [
      deployment.spec.selector.matchLabels,
      only("Service").spec.selector,
      only("PodDisruptionBudget").spec.selector.matchLabels,
      only("NetworkPolicy").spec.podSelector.matchLabels,
      ...pod.topologySpreadConstraints.map(
        ({ labelSelector }: { labelSelector: { matchLabels: object } }) => labelSelector.matchLabels,
      ),
    ];
    for (const selector of selectors) assert.deepEqual(selector, labels);
    const [port] = container.ports;
    assert.equal(String(port.containerPort), environmentOf().PORT);
    const [servicePort] = only("Service").spec.ports;
    assert.equal(servicePort.targetPort, port.name);
    const [rule] = only("Ingress").spec.rules;
    const [{ backend }] = rule.http.paths;
    assert.deepEqual(backend.service, {
      name: only("Service").metadata.name,
      port: { name: servicePort.name },
    });
    assert.equal(`https://${rule.host}`, fromMap.BASE_URL);
    assert.deepEqual(only("Ingress").spec.tls[0].hosts, [rule.host]);
    assert.equal(only("HorizontalPodAutoscaler").spec.scaleTargetRef.name, deployment.metadata.name);
    assert.equal(deployment.spec.replicas, undefined, "the autoscaler's");
    const [admitted] = only("NetworkPolicy").spec.ingress;
    assert.deepEqual(admitted.ports, [{ port: port.containerPort }]);
  });

  test("its environment is a configuration that the server starts with, secrets are references", () => {
    for (const name of Object.keys(environmentOf()))
      assert.ok(settings.has(name), `${name} is in .env.example`);
    const { store, identityProviders, policyFile } = loadConfig(environmentOf());
    assert.equal(store.kind, "redis");
    assert.equal(identityProviders[0].issuer, fromMap.OIDC_ISSUER);
    const [mount] = container.volumeMounts;
    const [volume] = pod.volumes;
    assert.equal(mount.name, volume.name);
    assert.equal(mount.subPath, undefined, "a file that is mounted by itself never changes");
    assert.equal(policyFile, `${mount.mountPath}/${Object.keys(configMap(volume.configMap.name).data)[0]}`);

    const secrets = ["OIDC_CLIENT_SECRET", "SECRET_KEY", "REDIS_URL"];
    for (const [name, reference] of Object.entries(secretsOf())) assert.equal(reference.key, name);
    assert.deepEqual(Object.keys(secretsOf()).sort(), secrets.sort());
    for (const name of [...secrets, "AUTH0_CLIENT_SECRET", "REGISTRATION_TOKENS", "METRICS_TOKEN"])
      assert.equal(fromMap[name], undefined);
    assert.ok([...documents.values()].every(({ kind }) => kind !== "Secret"));
  });

  test("probes ask what the server answers: ready after, and not before, STORE_OUTAGE_SECONDS are over", () => {
    const { readinessProbe: ready, livenessProbe: live } = container;
    assert.equal(ready.httpGet.path, "/readyz");
    assert.equal(live.httpGet.path, "/healthz");
    const routes = readFileSync(join(deploy, "../src/http/health.ts"), "utf8");
    for (const { httpGet } of [ready, live]) {
      assert.ok(routes.includes(`router.get("${httpGet.path}"`), httpGet.path);
      assert.equal(httpGet.port, container.ports[0].name);
    }
    assert.ok(
      ready.periodSeconds * ready.failureThreshold > loadConfig(environmentOf()).grantCache.outageSeconds,
    );
  });

  test("is stopped with more patience than it needs", () => {
    const { shutdownDelaySeconds, shutdownSeconds } = loadConfig(environmentOf());
    assert.ok(shutdownDelaySeconds > 0);
    assert.ok(pod.terminationGracePeriodSeconds > shutdownDelaySeconds + shutdownSeconds);
  });

  test("may no more than it needs", () => {
    const [, user, group] =
      /^USER (\d+):(\d+)$/m.exec(
        readFileSync(join(deploy, "../Dockerfile"), "utf8").split("AS production\n").at(-1) ?? "",
      ) ?? [];
    assert.deepEqual(pod.securityContext, {
      runAsNonRoot: true,
      runAsUser: Number(user),
      runAsGroup: Number(group),
      seccompProfile: { type: "RuntimeDefault" },
    });
    assert.deepEqual(container.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    assert.equal(pod.automountServiceAccountToken, false);
    assert.ok(container.resources.limits.memory && container.resources.requests.cpu);
  });

  test("one pod may always be missing", () => {
    assert.ok(
      only("HorizontalPodAutoscaler").spec.minReplicas > only("PodDisruptionBudget").spec.maxUnavailable,
    );
  });

  function secretsOf(): Record<string, { name: string; key: string }> {
    const references = container.env.filter(({ valueFrom }: { valueFrom?: object }) => valueFrom);
    return Object.fromEntries(
      references.map(({ name, valueFrom }: { name: string; valueFrom: { secretKeyRef: object } }) => [
        name,
        valueFrom.secretKeyRef,
      ]),
    );
  }

  /** As the container gets it, with made-up secrets. */
  function environmentOf(): Record<string, string> {
    const values = { OIDC_CLIENT_SECRET: "secret", SECRET_KEY, REDIS_URL: "rediss://redis.example.com:6379" };
    assert.deepEqual(container.envFrom, [{ configMapRef: { name: "mcp-oidc-proxy-settings" } }]);
    const literal = container.env.filter(({ value }: { value?: string }) => value !== undefined);
    return {
      ...fromMap,
      ...Object.fromEntries(literal.map(({ name, value }: { name: string; value: string }) => [name, value])),
      ...values,
    };
  }
});

describe("docs/runbook.md", { skip: skipWithoutRedisServer() }, () => {
  const runbook = readFileSync(join(deploy, "../docs/runbook.md"), "utf8");

  test("speaks of reasons and settings that exist", () => {
    const sources = readdirSync(join(deploy, "../src"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => readFileSync(join(deploy, "../src", file), "utf8"))
      .join("\n");
    const words = [...runbook.matchAll(/`([A-Za-z]+(?:_[A-Za-z]+)+)`/g)].map(([, word = ""]) => word);
    assert.ok(words.length > 40);
    const functions = [...runbook.matchAll(/^(\w+)\(\) \{/gm)].map(([, name]) => name);
    for (const word of words)
      if (word === word.toUpperCase()) assert.ok(settings.has(word), `${word} is in .env.example`);
      else if (!functions.includes(word) && word !== "stop_grace_period")
        assert.ok(
          // Those of limits and budgets are made of their names (src/http/rate-limit.ts).
          [/$^/, /^too_many_/, /^too_many_|_of_address$/g].some((made) =>
            sources.includes(`"${word.replace(made, "")}"`),
          ),
          `${word} is in src`,
        );
  });

  test("its functions end the sessions that they name, on every replica at once", async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const environment = { GRANT_CACHE_SECONDS: "300" };
    const testServer = await startTestServer({ redisUrl: redis.url, environment });
    t.after(() => testServer.close());
    const replica = await testServer.replica();
    const { store } = testServer.config;
    const [block = ""] = /(?<=```sh\n)prefix=[\s\S]*?(?=```)/.exec(runbook) ?? [];
    const functions = block
      .replace(/^prefix=\S+/, `prefix=${store.kind === "redis" ? store.keyPrefix : ""}`)
      .replace(/^redis\(\) .*/m, `redis() { redis-cli -p ${redis.port} "$@"; }`);
    const run = (command: string) => {
      const { status, stderr } = spawnSync("bash", ["-euo", "pipefail", "-c", `${functions}\n${command}`], {
        encoding: "utf8",
      });
      assert.equal(status, 0, stderr);
    };
    const client = await register(testServer.baseUrl);
    const signIn = (login: string) => signInForTokens(testServer.baseUrl, client, { login });
    const tokens = { alice: await signIn("alice"), bob: await signIn("bob") };
    const statuses = async () => {
      const all = [testServer.url, `${replica}/mcp`].flatMap((url) =>
        [tokens.alice, tokens.bob].map(
          async ({ access_token }) => (await callTool(url, access_token, "whoami")).status,
        ),
      );
      return Promise.all(all);
    };
    /** By the published change: the copies that they keep last for GRANT_CACHE_SECONDS. */
    const become = (expected: number[]) =>
      eventually(`${expected}`, async () => String(await statuses()) === String(expected));
    assert.deepEqual(await statuses(), [200, 200, 200, 200]);
    run("grants_of_user alice | end_grants");
    await become([401, 200, 401, 200]);
    run(`printf %s ${tokens.bob.access_token} | cut -c8-29 | end_grants`);
    await become([401, 401, 401, 401]);

    tokens.alice = await signIn("alice");
    assert.deepEqual(await statuses(), [200, 401, 200, 401]);
    run(`grants_of_client ${client.client_id} | end_grants`);
    await become([401, 401, 401, 401]);

    [tokens.alice, tokens.bob] = [await signIn("alice"), await signIn("bob")];
    assert.deepEqual(await statuses(), [200, 200, 200, 200]);
    run("all_grants | end_grants");
    await become([401, 401, 401, 401]);
    run("forget client");
    assert.equal(
      (await refresh(testServer.baseUrl, client, tokens.bob.refresh_token)).body.error,
      "invalid_client",
    );
  });
});

function seconds(duration = ""): number {
  const [, count] = /^(\d+)s$/.exec(duration) ?? [];
  return Number(count);
}

const REGISTRATIONS = 5;
/** Until HAProxy has asked often enough to know that a replica is ready, or is not. */
const NOTICED_MS = 4_000;

interface Site {
  baseUrl: string;
  /** Registered once: the limit per address is low here. */
  client: Registered;
  redis: TestRedis;
  replicas: ServerProcess[];
  /** A replica of the same deployment in this process; its port. */
  replicaWithTool(tool: ReturnType<typeof defineTool>): Promise<number>;
  /** The same proxy once more, before these ports. */
  proxyBefore(ports: readonly number[]): Promise<{ baseUrl: string }>;
  stop(): Promise<void>;
}

async function startSite(proxy: Proxy): Promise<Site> {
  const cleanUp: Array<() => Promise<unknown> | unknown> = [];
  const redis = await startRedis();
  cleanUp.push(() => redis.stop());
  const [port, ...replicaPorts] = [await freePort(), await freePort(), await freePort()];
  const baseUrl = `http://localhost:${port}${proxy.path}`;
  const issuer = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [ALICE],
    behaviour: { advertisesApiScopes: true },
  });
  cleanUp.push(() => issuer.close());
  const environment = (replica: number) => ({
    BASE_URL: baseUrl,
    PORT: String(replica),
    HOST: "127.0.0.1",
    TRUSTED_PROXIES: "127.0.0.1",
    OIDC_ISSUER: issuer.issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    REDIS_URL: redis.url,
    SECRET_KEY,
    REGISTRATIONS_PER_ADDRESS_PER_HOUR: String(REGISTRATIONS),
    SHUTDOWN_DELAY_SECONDS: "4",
    LOG_LEVEL: "silent",
  });
  const replicas = await Promise.all(replicaPorts.map((each) => startServerProcess(environment(each))));
  for (const replica of replicas) cleanUp.push(() => replica.kill());

  async function startProxy(baseUrl: string, ports: readonly number[]): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "deploy-"));
    cleanUp.push(() => rmSync(folder, { recursive: true }));
    const running = startProgram(proxy.program, proxy.configure(folder, new URL(baseUrl).port, ports));
    cleanUp.push(() => running.stop());
    await until(async () => (await fetch(`${baseUrl}/readyz`)).ok, running.output);
  }
  await startProxy(baseUrl, replicaPorts);

  return {
    baseUrl,
    client: await register(baseUrl),
    redis,
    replicas,
    async replicaWithTool(tool) {
      const each = await freePort();
      const config = loadConfig(environment(each));
      const server = await serve(
        config,
        { tools: [tool], scopes: {} },
        { log: pino({ level: "silent" }), stopOnSignals: false },
      );
      cleanUp.push(() => server.stop());
      await until(async () => (await fetch(`http://127.0.0.1:${each}/readyz`)).ok);
      return each;
    },
    async proxyBefore(ports) {
      const another = `http://localhost:${await freePort()}${proxy.path}`;
      await startProxy(another, ports);
      return { baseUrl: another };
    },
    async stop() {
      for (const clean of cleanUp.reverse()) await clean();
    },
  };
}

/** Each of these stands in the file as it is shipped, and is put aside for what works here. */
function adapt(file: string, changes: ReadonlyArray<[shipped: RegExp, here: string]>): string {
  return changes.reduce(
    (contents, [shipped, here]) => {
      assert.match(contents, shipped, file);
      return contents.replace(shipped, here);
    },
    readFileSync(join(deploy, file), "utf8"),
  );
}

/** http instead of https, and these ports. */
function configureHaproxy(folder: string, port: string, replicas: readonly number[]): string[] {
  const [one, two = one] = replicas;
  const configuration = adapt("compose/haproxy.cfg", [
    [/frontend http\n[\s\S]*?(?=frontend https)/, ""],
    [/bind :443 ssl .*/, `bind 127.0.0.1:${port}`],
    [/172\.30\.99\.11:3000/g, `127.0.0.1:${one}`],
    [/172\.30\.99\.12:3000/g, `127.0.0.1:${two}`],
  ]);
  writeFileSync(join(folder, "haproxy.cfg"), configuration);
  return ["-db", "-f", join(folder, "haproxy.cfg")];
}

/** The shipped files in a configuration around them that needs no rights; http instead of https, and these ports. */
function configureNginx(file: string, folder: string, port: string, replicas: readonly number[]): string[] {
  const [one, two = one] = replicas;
  mkdirSync(join(folder, "mcp-oidc-proxy"));
  cpSync(join(deploy, "nginx/proxy.conf"), join(folder, "mcp-oidc-proxy/proxy.conf"));
  const upstream = adapt("nginx/replicas.conf", [
    [/10\.0\.0\.11:3000/, `127.0.0.1:${one}`],
    [/10\.0\.0\.12:3000/, `127.0.0.1:${two}`],
  ]);
  const server = adapt(file, [
    [/listen 443 ssl;/, `listen 127.0.0.1:${port};`],
    [/server_name example\.com;/, "server_name localhost;"],
    [/ *ssl_certificate .*\n/, ""],
    [/ *ssl_certificate_key .*\n/, ""],
  ]);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${name};`,
  );
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; master_process off; pid nginx.pid; error_log stderr; events {}
http { access_log off; ${temporary.join(" ")}
${upstream}
${server} }`,
  );
  return ["-p", folder, "-c", "nginx.conf", "-e", "stderr"];
}

interface Running {
  output(): string;
  stop(): Promise<void>;
}

/** Ends with this process, however that ends: the kernel closes the pipe that the shell waits for. */
function startProgram(program: string, args: readonly string[]): Running {
  const script = '"$@" & read -r _; kill -9 $!; wait $!';
  const keeper: ChildProcess = spawn("sh", ["-c", script, "sh", program, ...args], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let output = "";
  keeper.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  return {
    output: () => output,
    async stop() {
      const ended = once(keeper, "exit");
      keeper.stdin?.end();
      await ended;
    },
  };
}

/** Why tests that run this program cannot run here, or false; with CI=true not being able to is an error. */
function skipWithout(program: Proxy["program"]): string | false {
  if (spawnSync(program, ["-v"]).status === 0) return false;
  const skip = `${program} is not on PATH: install it with 'apt-get install ${program}'`;
  if (process.env.CI === "true") throw new Error(skip);
  return skip;
}

/** The status of a registration that comes from this address of the loopback network. */
async function registerFrom(
  localAddress: string,
  baseUrl: string,
  headers: Record<string, string> = {},
): Promise<number | undefined> {
  const { port, host, pathname } = new URL(`${baseUrl}/register`);
  const sent = request({
    localAddress,
    host: "127.0.0.1",
    port,
    path: pathname,
    method: "POST",
    headers: { host, "content-type": "application/json", ...headers },
  }).end(JSON.stringify({ client_name: "c", redirect_uris: [REDIRECT_URI] }));
  const [response] = await once(sent, "response");
  await text(response);
  return response.statusCode;
}

async function until(isSo: () => Promise<boolean>, output = () => ""): Promise<void> {
  for (const deadline = Date.now() + 15_000; Date.now() < deadline; await delay(50))
    if (await isSo().catch(() => false)) return;
  throw new Error(`Not within 15 s. ${output()}`);
}
