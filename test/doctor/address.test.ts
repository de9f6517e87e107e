/** The doctor and what answers at BASE_URL: this server, through good and bad proxies, or somebody else. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, type RequestListener, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { askForView, DOCTOR_VIEW_PATH } from "../../src/http/doctor-view.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { freePort } from "../support/free-port.ts";
import { type ServerHere, startServerHere } from "../support/server-here.ts";
import { type Listening, listen, listenSilently, look, NOTHING_WORKS, SECRET_KEY } from "./support.ts";

interface Habits {
  headers?: (headers: IncomingHttpHeaders, from: string) => IncomingHttpHeaders;
  answerHeaders?: (headers: IncomingHttpHeaders) => IncomingHttpHeaders;
  /** Answers itself. */
  instead?: (path: string) => [status: number, body: string] | undefined;
}

describe("doctor: the public address", () => {
  let front: Listening;
  let server: ServerHere;
  let port: number;
  let habits: Habits = {};
  let target = 0;

  // One address for all tests: the server's issuer is this proxy, whatever its behaviour is at the moment.
  // It has an address of its own, which the server trusts; 127.0.0.1 is not trusted.
  const passing = { host: "127.0.0.1", localAddress: "127.0.0.2" };
  const proxy: RequestListener = (req, res) => {
    const path = req.url ?? "/";
    const own = habits.instead?.(path);
    if (own !== undefined) return void res.writeHead(own[0], { "content-type": "text/html" }).end(own[1]);
    const from = req.socket.remoteAddress ?? "";
    const headers = habits.headers?.(req.headers, from) ?? appended(req.headers, from);
    const passed = request({ ...passing, port: target, path, method: req.method, headers }, (answer) => {
      const { connection, ...rest } = habits.answerHeaders?.(answer.headers) ?? answer.headers;
      res.writeHead(answer.statusCode ?? 502, rest);
      answer.pipe(res);
    });
    passed.on("error", () => res.writeHead(502).end());
    req.pipe(passed);
  };

  before(async () => {
    front = await listen(proxy);
    port = await freePort();
    target = port;
    server = await startServerHere({ ...environment(), TRUSTED_PROXIES: "127.0.0.2" });
  });
  after(async () => {
    await server.stop();
    await front.close();
  });

  const environment = () => ({
    BASE_URL: `http://localhost:${front.port}`,
    PORT: String(port),
    HOST: "127.0.0.1",
    OIDC_ISSUER: "http://localhost:1",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret-of-the-proxy",
    STORE: "memory",
    SECRET_KEY,
    LOG_LEVEL: "silent",
  });

  async function looking(changed: Habits = {}, more: Record<string, string> = {}) {
    habits = changed;
    try {
      return await look({ ...environment(), ...more });
    } finally {
      habits = {};
    }
  }

  test("every check is in order where a good proxy passes requests to this server", async () => {
    const { findings, line } = await looking();
    const mine = findings.filter(({ check }) => check.startsWith("address."));
    assert.deepEqual(
      mine.filter(({ status }) => status !== "ok"),
      [],
    );
    assert.match(line("address.proxy_headers"), /through its proxy \(this computer as .*127\.0\.0\.1\)/);
    assert.equal(mine.length, 4);
  });

  const broken: Array<[what: string, habits: Habits, check: string, line: RegExp]> = [
    [
      "a proxy that keeps Authorization for itself",
      { headers: ({ authorization, ...rest }, from) => appended(rest, from) },
      "address.bearer",
      /^✗ The header Authorization does not reach/,
    ],
    [
      "a proxy that removes WWW-Authenticate",
      { answerHeaders: ({ "www-authenticate": _, ...rest }) => rest },
      "address.bearer",
      /^✗ The header WWW-Authenticate does not come back/,
    ],
    [
      "a proxy with a login of its own before the endpoint",
      { instead: (path) => (path === "/mcp" ? [302, ""] : undefined) },
      "address.bearer",
      /^✗ .*HTTP 302, where this server says 401/,
    ],
    [
      "a proxy that passes on one of the documents only",
      { instead: (path) => (path.includes("protected-resource") ? [404, ""] : undefined) },
      "address.resource_metadata",
      /^✗ .*HTTP 404.*→ Let the reverse proxy pass \/\.well-known\/oauth-protected-resource/,
    ],
    [
      "a proxy that passes on what clients claim",
      { headers: (headers) => headers },
      "address.proxy_headers",
      /^✗ Anybody can choose the address/,
    ],
    [
      "a proxy that removes X-Forwarded-For",
      { headers: ({ "x-forwarded-for": _, ...rest }) => rest },
      "address.proxy_headers",
      /^! The proxy at 127\.0\.0\.2 does not name clients/,
    ],
    [
      "somebody else's web page",
      { instead: () => [200, "<title>Welcome to nginx!</title>"] },
      "address.metadata",
      /^✗ Something else than this server answers .*"Welcome to nginx!".*\.well-known/,
    ],
    [
      "a proxy whose server cannot be reached, though it runs here",
      { instead: () => [502, "<title>502 Bad Gateway</title>"] },
      "address.metadata",
      /^✗ A proxy answers .*→ Let the proxy pass requests to port \d+, where the server listens/,
    ],
  ];
  for (const [what, changed, check, line] of broken)
    test(what, async () => assert.match((await looking(changed)).line(check), line));

  test("a proxy whose server does not run is reported as unknown, with the advice to start it", async () => {
    const nobody = String(await freePort());
    const { line } = await looking({ instead: () => [502, ""] }, { PORT: nobody });
    assert.match(
      line("address.metadata"),
      /^! A proxy answers at BASE_URL, but reaches no server.*→ Start the server/,
    );
  });

  test("a proxy that TRUSTED_PROXIES does not name is a warning with the value to set", async () => {
    const other = await freePort();
    const untrusting = await startServerHere({ ...environment(), PORT: String(other) });
    target = other;
    try {
      assert.match(
        (await looking()).line("address.proxy_headers"),
        /^! .*→ Set TRUSTED_PROXIES=127\.0\.0\.2 /,
      );
    } finally {
      target = port;
      await untrusting.stop();
    }
  });

  test("the same address under another host name is reported as another server", async () => {
    const { line } = await looking({}, { BASE_URL: `http://127.0.0.1:${front.port}` });
    assert.match(
      line("address.metadata"),
      /^✗ Another server.*its issuer is http:\/\/localhost:\d+ → .*set BASE_URL=http:\/\/localhost/,
    );
  });

  test("a server with another SECRET_KEY leaves the check of proxy headers unknown", async () => {
    const { line } = await looking({}, { SECRET_KEY: SECRET_KEY.split("").reverse().join("") });
    assert.match(
      line("address.proxy_headers"),
      /^! Could not tell how requests arrive.*SECRET_KEY of that server/,
    );
  });

  test("a server that listens while nothing listens at BASE_URL is a failure of the proxy", async () => {
    const nobody = await freePort();
    const { line } = await looking({}, { BASE_URL: `http://localhost:${nobody}` });
    assert.match(
      line("address.metadata"),
      /^✗ The server listens on port \d+ of this computer, but nothing listens/,
    );
  });

  test("what else is wrong does not change where the server is looked for", async () => {
    const nobody = await freePort();
    const elsewhere = { BASE_URL: `http://localhost:${nobody}`, LOG_LEVEL: "loud" };
    const { line } = await looking({}, elsewhere);
    assert.ok(line("address.metadata").startsWith(`✗ The server listens on port ${port} of this computer`));
    const { line: without } = await looking({}, { ...elsewhere, PORT: "a" });
    assert.match(without("address.metadata"), /^! Nothing answers at BASE_URL yet/);
  });

  test("a server that was not started yet is unknown, and no failure", async () => {
    const nobody = await freePort();
    const { line } = await looking({}, { BASE_URL: `http://localhost:${nobody}`, PORT: String(nobody) });
    assert.match(line("address.metadata"), /^! Nothing answers at BASE_URL yet.*→ Start the server/);
  });

  test("a host name that the DNS does not know is a failure", async () => {
    const { line } = await looking({}, { BASE_URL: "https://mcp.invalid" });
    assert.match(
      line("address.metadata"),
      /^✗ BASE_URL cannot be reached: there is no host named mcp\.invalid/,
    );
  });

  test("a host that accepts connections and never answers is unknown", async () => {
    const silent = await listenSilently();
    const settings = { ...NOTHING_WORKS, BASE_URL: `http://localhost:${silent.port}` };
    const { line } = await look(settings, { patience: { answerMs: 500, checkMs: 20_000 } });
    await silent.close();
    assert.match(
      line("address.metadata"),
      /^! BASE_URL could not be reached from here.*→ Open .*\/healthz from outside/,
    );
  });

  test("/doctor/view answers 404 to whoever cannot seal the question with SECRET_KEY, or asks too early or late", async () => {
    const ask = (headers: Record<string, string>) =>
      fetch(`http://localhost:${front.port}${DOCTOR_VIEW_PATH}`, { headers });
    const now = Math.floor(Date.now() / 1000);
    const ours = createSealer([SECRET_KEY]);
    const question = (sealed: string) => ask({ "doctor-question": sealed });
    assert.equal((await question(askForView(ours, now))).status, 200);
    assert.equal((await ask({})).status, 404);
    assert.equal((await question("")).status, 404);
    assert.equal((await question(askForView(createSealer(["x".repeat(40)]), now))).status, 404);
    assert.equal((await question(askForView(ours, now - 121))).status, 404, "an old question");
    assert.equal((await question(askForView(ours, now + 200))).status, 404, "one for later");
    assert.equal(
      (await question(ours.seal(String(now), "client:x"))).status,
      404,
      "sealed for something else",
    );
    assert.equal((await question(ours.seal("nonsense", "doctor question"))).status, 404);
  });
});

describe("doctor: the public address of several resources", () => {
  let front: Listening;
  let server: ServerHere;
  let port: number;
  let instead: (path: string) => [status: number, body: string] | undefined = () => undefined;
  const folder = mkdtempSync(join(tmpdir(), "doctor-resources-"));
  const described = (name: string, paths: readonly string[]) => {
    const file = join(folder, name);
    const entries = paths.map(
      (path, index) =>
        `  ${path}: { name: Name ${index}, server: "http://127.0.0.1:9/mcp", scopes: { "a:${index}": A }, needs: {} }\n`,
    );
    writeFileSync(file, `resources:\n${entries.join("")}`, { mode: 0o600 });
    return file;
  };
  const environment = () => ({
    ...NOTHING_WORKS,
    BASE_URL: `http://localhost:${front.port}`,
    PORT: String(port),
    HOST: "127.0.0.1",
    REDIS_URL: "",
    STORE: "memory",
    SECRET_KEY,
    LOG_LEVEL: "silent",
    CONFIG_FILE: described("server.yaml", ["/weather", "/crm/mcp", "/docs/mcp"]),
  });

  before(async () => {
    front = await listen((req, res) => {
      const own = instead(req.url ?? "/");
      if (own !== undefined) return void res.writeHead(own[0]).end(own[1]);
      const { method, headers, url: path } = req;
      const passed = request({ host: "127.0.0.1", port, path, method, headers }, (answer) => {
        const { connection, ...rest } = answer.headers;
        res.writeHead(answer.statusCode ?? 502, rest);
        answer.pipe(res);
      });
      req.pipe(passed);
    });
    port = await freePort();
    server = await startServerHere(environment());
  });
  after(async () => {
    await server.stop();
    await front.close();
    rmSync(folder, { recursive: true });
  });

  async function looking(changed: typeof instead, more: Record<string, string> = {}) {
    instead = changed;
    const seen = await look({ ...environment(), ...more });
    instead = () => undefined;
    return seen;
  }

  test("each resource is asked at its own path, and no other", async () => {
    const asked: string[] = [];
    const { line } = await looking((path) => void asked.push(path));
    assert.match(line("address.resource_metadata"), /^✓ Clients find .* \(all 3 resources\)$/);
    assert.match(line("address.bearer"), /^✓ Tokens reach .* \(all 3 resources\)$/);
    for (const path of ["/weather", "/crm/mcp", "/docs/mcp"])
      assert.ok(asked.includes(path) && asked.includes(`/.well-known/oauth-protected-resource${path}`), path);
    assert.ok(!asked.includes("/mcp"), "there is none there");
  });

  test("a resource that a proxy keeps back is reported by its name and path", async () => {
    const { line } = await looking((path) => (path.includes("/crm/mcp") ? [404, ""] : undefined));
    assert.match(line("address.resource_metadata"), /^✗ “Name 1” \(\/crm\/mcp\): Clients cannot find/);
    assert.match(line("address.bearer"), /^✗ “Name 1” \(\/crm\/mcp\): The MCP endpoint answers .* HTTP 404/);
  });

  test("a problem that all resources have is reported once", async () => {
    const isEndpoint = (path: string) => /^\/(weather|crm|docs)/.test(path);
    const { line } = await looking((path) => (isEndpoint(path) ? [302, ""] : undefined));
    assert.match(line("address.bearer"), /^✗ The MCP endpoint answers a wrong token with HTTP 302/);
  });

  test("a resource that the running server does not have is reported as missing there, and its path is not asked", async () => {
    const CONFIG_FILE = described("newer.yaml", ["/weather", "/crm/mcp", "/new/mcp"]);
    const { line } = await looking(() => undefined, { CONFIG_FILE });
    assert.match(
      line("address.resources"),
      /^✗ .* does not have 1 resource of this configuration: \/new\/mcp → Restart/,
    );
    assert.match(line("address.bearer"), /^✓ Tokens reach .* \(all 2 resources\)$/);
  });
});

/** What nginx's $proxy_add_x_forwarded_for does. */
function appended(headers: IncomingHttpHeaders, from: string): IncomingHttpHeaders {
  const before = headers["x-forwarded-for"];
  return { ...headers, "x-forwarded-for": before === undefined ? from : `${before}, ${from}` };
}
