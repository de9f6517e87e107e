/** `npm run doctor` as people and programs run it: its exit code, its two forms, its limits, and what it never prints. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import type { Finding } from "../../src/cli/doctor/finding.ts";
import { settingNames } from "../../src/cli/doctor/settings.ts";
import { builtProgram } from "../support/built-program.ts";
import { freePort } from "../support/free-port.ts";
import { ranAsProcess } from "../support/ran.ts";
import { type ServerHere, startServerHere } from "../support/server-here.ts";
import {
  AUDIENCE,
  CLIENT_SECRET,
  doctorProcess,
  type Listening,
  lineOf,
  listen,
  listenSilently,
  look,
  NOTHING_WORKS,
  runDoctor,
  SECRET_KEY,
  started,
} from "./support.ts";

const run = promisify(execFile);

describe("npm run doctor", () => {
  test("an empty environment lists every missing setting with its remedy, and ends with exit code 1", async () => {
    const { code, stdout, stderr } = await doctorProcess({});
    assert.equal(code, 1);
    assert.equal(stderr, "");
    for (const name of Object.keys(NOTHING_WORKS).filter((name) => name !== "PORT"))
      assert.match(stdout, new RegExp(`✗ ${name} is missing\\.\\n {6}→ (Set it to|Make one with: )`));
    assert.match(stdout, /It cannot serve like this: 6 problems to fix/);
    assert.doesNotMatch(stdout, /^\s+at /m);
  });

  test("an environment that cannot be read is told in a line, as by the server", async (t) => {
    const cwd = mkdtempSync(join(tmpdir(), "doctor-env-"));
    t.after(() => rmSync(cwd, { recursive: true }));
    mkdirSync(join(cwd, ".env"));
    const { code, stderr } = await ranAsProcess("src/cli/doctor", [], { env: {}, cwd });
    assert.deepEqual([code, stderr], [1, "the file .env is there but cannot be read.\n"]);
  });

  test("a reader who has enough is no fault", async () => {
    const child = spawn(process.execPath, [builtProgram("src/cli/doctor")], {
      env: { PATH: process.env.PATH, ...NOTHING_WORKS },
      cwd: tmpdir(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
    assert.deepEqual([code, stderr], [0, ""]);
  });

  test("a good deployment ends with exit code 0, and words and JSON have the same findings and callback URL", async () => {
    const port = await freePort();
    const baseUrl = `http://localhost:${port}`;
    const identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: CLIENT_SECRET, redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["weather:read"],
      users: [],
      behaviour: { advertisesApiScopes: true },
    });
    const environment = {
      ...NOTHING_WORKS,
      BASE_URL: baseUrl,
      PORT: String(port),
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_AUDIENCE: AUDIENCE,
      REDIS_URL: "",
      STORE: "memory",
    };
    const server = await startServerHere({ ...environment, HOST: "127.0.0.1", LOG_LEVEL: "silent" });
    try {
      const [words, json] = await Promise.all([runDoctor(environment), runDoctor(environment, ["--json"])]);
      assert.equal(words.code, 0, words.stdout);
      assert.match(words.stdout, /It can serve, with/);
      assert.ok(words.stdout.includes(`Callback URL             ${baseUrl}/auth/callback\n`));
      assert.equal(json.code, 0);
      const { canServe, findings, registration } = JSON.parse(json.stdout);
      assert.equal(canServe, true);
      assert.equal(registration.callbackUrl, `${baseUrl}/auth/callback`);
      for (const finding of findings as Finding[])
        assert.ok(words.stdout.includes(finding.says), finding.says);
      for (const check of ["provider.credentials", "address.bearer", "settings.valid"])
        assert.equal(findings.find((each: Finding) => each.check === check)?.status, "ok", check);
    } finally {
      await server.stop();
      await identityProvider.close();
    }
  });

  test("servers that accept connections and never answer do not keep it from ending", async () => {
    const silent = await listenSilently();
    const at = `localhost:${silent.port}`;
    const settings = {
      ...NOTHING_WORKS,
      BASE_URL: `http://${at}`,
      OIDC_ISSUER: `http://${at}`,
      UPSTREAM_TIMEOUT_SECONDS: "1",
      REDIS_URL: `redis://127.0.0.1:${silent.port}`,
      REDIS_TIMEOUT_MS: "500",
    };
    const { line } = await look(settings, { patience: { answerMs: 500, checkMs: 5_000 } });
    await silent.close();
    assert.match(line("provider.discovery"), /^✗ The identity provider cannot be reached/);
    assert.match(line("redis.reachable"), /^✗ Redis at .* does not answer in time/);
    assert.match(line("address.metadata"), /^! BASE_URL could not be reached from here/);
  });

  test("an answer that never ends is given up", async () => {
    const endless = await listen((_req, res) => {
      res.writeHead(200, { "content-type": "application/json" });
      const timer = setInterval(() => res.write(" ".repeat(65_536)), 5);
      res.on("close", () => clearInterval(timer));
    });
    const url = `http://localhost:${endless.port}`;
    const { line } = await look({ ...NOTHING_WORKS, BASE_URL: url, OIDC_ISSUER: url });
    await endless.close();
    assert.match(line("provider.discovery"), /^✗/);
    assert.match(line("address.metadata"), /^[✗!]/);
  });

  test("secrets and control sequences that a provider quotes are not printed", async () => {
    const secrets = {
      clientSecret: 'client"secret\\with-quotes-77',
      redis: "redis-p@ssword-42",
      key: SECRET_KEY,
    };
    const echo = await listen(async (req, res) => {
      const self = `http://${req.headers.host}`;
      let body = "";
      for await (const chunk of req) body += chunk;
      if (req.method === "POST") {
        const sent = new URLSearchParams(body).get("client_secret") ?? "";
        return void res.writeHead(400).end(JSON.stringify({ error: `\u001b[31m${sent}` }));
      }
      const redirectUri = new URL(req.url ?? "", self).searchParams.get("redirect_uri");
      if (redirectUri !== null) {
        const description = `${secrets.clientSecret} ${SECRET_KEY}\u001b[0m`;
        const query = new URLSearchParams({ error: "access_denied", error_description: description });
        return void res.writeHead(302, { location: `${redirectUri}?${query}` }).end();
      }
      const endpoints = {
        token_endpoint: `${self}/token`,
        authorization_endpoint: `${self}/auth`,
        jwks_uri: `${self}/keys`,
      };
      res.end(JSON.stringify({ issuer: self, ...endpoints, response_types_supported: ["code"] }));
    });
    const environment = {
      ...NOTHING_WORKS,
      OIDC_ISSUER: `http://localhost:${echo.port}`,
      OIDC_CLIENT_SECRET: secrets.clientSecret,
      REDIS_URL: `redis://user:${encodeURIComponent(secrets.redis)}@127.0.0.1:1`,
    };
    const runs = await Promise.all([runDoctor(environment), runDoctor(environment, ["--json"])]);
    await echo.close();
    for (const { stdout, stderr } of runs) {
      assert.match(stdout, /\[secret\]/, "it was said, and hidden");
      for (const secret of [
        ...Object.values(secrets),
        JSON.stringify(secrets.clientSecret).slice(1, -1),
        encodeURIComponent(secrets.redis),
      ])
        assert.ok(!(stdout + stderr).includes(secret), secret);
      assert.ok(!stdout.includes("\u001b"), "nothing steers the terminal");
    }
  });

  test("--tools and TOOLS_MODULE choose the tools that are checked, in place of those in src/tools", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doctor-tools-"));
    const tools = join(folder, "tools.mjs");
    writeFileSync(tools, 'export const tools = []; export const scopes = { "notes:read": "Read notes" };');
    const judged = async (args: string[], more: object = {}) => {
      const { stdout, stderr } = await runDoctor({ ...NOTHING_WORKS, ...more }, [...args, "--json"]);
      assert.equal(stderr, "");
      return lineOf(JSON.parse(stdout).findings.find(({ check }: Finding) => check === "program.tools"));
    };
    assert.match(await judged(["--tools", tools]), /^✓ It offers 0 tools, 1 scope: notes:read$/);
    assert.match(
      await judged([], { TOOLS_MODULE: ` ${tools} ` }),
      /^✓ .*notes:read/,
      "as the server reads it",
    );
    assert.match(
      await judged(["--tools", join(folder, "missing.mjs")], { TOOLS_MODULE: tools }),
      /^✗ .*missing\.mjs does not exist.*→ Correct what it names: .*TOOLS_MODULE, --tools/,
    );
    const token = await runDoctor(NOTHING_WORKS, ["token", "--tools", join(folder, "missing.mjs"), "x"]);
    assert.match(token.stderr, /missing\.mjs does not exist/);
    rmSync(folder, { recursive: true });
  });

  test("doctor token explains a token that is not ours without Redis, and ends with exit code 1", async () => {
    const { code, stdout } = await runDoctor(NOTHING_WORKS, ["token", "-"], "sk-not-one-of-ours\n");
    assert.equal(code, 1);
    assert.match(stdout, /✗ It is no token of this server/);
    const help = await runDoctor({}, ["--help"]);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /token .*why a bearer token/s);
    assert.equal((await runDoctor({}, ["tokn"])).code, 1);
  });
});

describe("doctor: the certificate of the public address", () => {
  let folder: string;
  /** The proxy that speaks TLS. */
  let front: TlsServer;
  let listening: Listening;
  let server: ServerHere;
  let environment: Record<string, string>;
  const certificate = (name: string) => ({
    key: readFileSync(join(folder, `${name}.key`)),
    cert: readFileSync(join(folder, `${name}.pem`)),
  });
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "doctor-tls-"));
    const openssl = (...args: string[]) => run("openssl", args, { cwd: folder });
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    await openssl(
      "req",
      "-x509",
      ...key,
      "-days",
      "2",
      "-keyout",
      "ca.key",
      "-out",
      "ca.pem",
      "-subj",
      "/CN=authority",
    );
    writeFileSync(join(folder, "names"), "subjectAltName=DNS:localhost");
    for (const [name, days] of [
      ["expired", "-1"],
      ["soon", "5"],
      ["good", "60"],
    ] as const) {
      await openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", "/CN=localhost");
      const signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "names", "-days", days];
      await openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...signed);
    }
    const port = await freePort();
    front = createTlsServer(certificate("good"), (req, res) => {
      const headers = { ...req.headers, "x-forwarded-for": "203.0.113.9" };
      const passed = request(
        { port, host: "127.0.0.1", path: req.url, method: req.method, headers },
        (answer) => {
          res.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(res);
        },
      );
      req.pipe(passed);
    });
    listening = await started(front);
    environment = {
      ...NOTHING_WORKS,
      REDIS_URL: "",
      STORE: "memory",
      PORT: String(port),
      BASE_URL: `https://localhost:${listening.port}`,
    };
    server = await startServerHere({
      ...environment,
      HOST: "127.0.0.1",
      TRUSTED_PROXIES: "127.0.0.1",
      LOG_LEVEL: "silent",
    });
  });
  after(async () => {
    await server.stop();
    await listening.close();
    rmSync(folder, { recursive: true });
  });

  /** What a doctor says that trusts the authority, which a process is told when it starts, or that of this process does not. */
  async function behind(name: string, trusted = true): Promise<Finding[]> {
    front.setSecureContext(certificate(name));
    const known = { ...environment, NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") };
    const { stdout } = await (trusted
      ? doctorProcess(known, ["--json"])
      : runDoctor(environment, ["--json"]));
    return JSON.parse(stdout).findings.filter(({ check }: Finding) => check.startsWith("address."));
  }

  const lines = (findings: Finding[]) => findings.map(lineOf).join("\n");

  test("a certificate that is valid for months is in order, and one that ends within two weeks is a warning", async () => {
    const good = await behind("good");
    assert.deepEqual(
      good.filter(({ status }) => status !== "ok"),
      [],
    );
    assert.match(lines(good), /✓ The certificate of localhost is valid for 59 more days/);
    assert.match(lines(await behind("soon")), /! The certificate of localhost ends in 4 days.*→ Renew it/);
  });

  test("an expired certificate is one failure", async () => {
    const findings = lines(await behind("expired"));
    assert.match(
      findings,
      /^✗ BASE_URL cannot be reached: the certificate of localhost:\d+ has expired → Renew/,
    );
    assert.ok(!findings.includes("\n"), findings);
  });

  test("a certificate of an unknown authority is a failure whose remedy names NODE_EXTRA_CA_CERTS", async () => {
    assert.match(
      lines(await behind("good", false)),
      /✗ .*authority that this computer does not know.*NODE_EXTRA_CA_CERTS/,
    );
  });
});

describe("doctor: settings", () => {
  test("the names that it knows are those that .env.example explains", () => {
    const explained = [...readFileSync(".env.example", "utf8").matchAll(/^(?:# )?([A-Za-z][A-Za-z0-9_]+)=/gm)]
      .map(([, name]) => name)
      .filter((name) => !name?.startsWith("OPEN_METEO_")); // a tool's own
    for (const environment of [{}, { STORE: "memory" }, { AUTH0_DOMAIN: "t.auth0.com" }, NOTHING_WORKS])
      assert.deepEqual(settingNames(environment).sort(), explained.sort());
  });

  const slips: Array<[what: string, environment: Record<string, string>, line: RegExp]> = [
    [
      "a misspelt name is a warning that names the setting that is meant",
      { REDIS_UR: "redis://x" },
      /^! REDIS_UR is set, but is no setting.*Did you mean REDIS_URL\?/,
    ],
    [
      "an AUTH0_ name that is no setting is a warning",
      { AUTH0_SECRET: "x" },
      /^! AUTH0_SECRET is set, but is no setting/,
    ],
    [
      "an OIDC_ name that is no setting is a warning",
      { OIDC_PROVIDER_URL: "x" },
      /^! OIDC_PROVIDER_URL is set/,
    ],
    [
      "quotation marks that became part of a value are a warning",
      { SERVER_NAME: '"Weather"' },
      /^! The value of SERVER_NAME begins and ends with a quotation/,
    ],
    [
      "a comment that became part of a value is a warning",
      { SERVER_NAME: "Weather # ours" },
      /^! The value of SERVER_NAME contains " # "/,
    ],
  ];
  for (const [what, environment, line] of slips)
    test(what, async () => {
      const { findings } = await look({ ...NOTHING_WORKS, ...environment });
      assert.ok(
        findings.some((finding) => line.test(lineOf(finding))),
        findings.map(lineOf).join("\n"),
      );
    });

  test("variables that orchestrators set are not reported", async () => {
    const { findings } = await look({
      ...NOTHING_WORKS,
      REDIS_SERVICE_HOST: "10.0.0.1",
      REDIS_PORT: "tcp://10.0.0.1:6379",
      HOSTNAME: "pod",
      PATH: "/bin",
      HOME: "/root",
    });
    assert.deepEqual(
      findings.filter(({ check }) => check === "settings.unknown"),
      [],
    );
  });

  test("a wrong setting does not keep the other parts from being checked", async () => {
    const { of, line } = await look({ ...NOTHING_WORKS, ACCESS_TOKEN_SECONDS: "soon" });
    assert.match(
      line("settings.valid"),
      /^✗ ACCESS_TOKEN_SECONDS must be a whole number.*→ Write digits alone, such as 3600/,
    );
    assert.equal(of("provider.discovery").status, "failure");
    assert.equal(of("redis.reachable").status, "failure");
    assert.equal(of("address.metadata").status, "unknown");
  });

  test("a policy with a mistake and an audit log that cannot be written are failures", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doctor-policy-"));
    const POLICY_FILE = join(folder, "policy.yaml");
    writeFileSync(
      POLICY_FILE,
      "rules:\n  - name: typo\n    deny: { tools: [curent_weather] }\n    for: { users: [a] }\n",
    );
    const wrong = await look({ ...NOTHING_WORKS, POLICY_FILE, AUDIT_LOG: join(folder, "missing/audit.log") });
    assert.match(
      wrong.line("program.policy"),
      /^✗ In .*policy\.yaml:\d.*curent_weather.*→ Use what is known here: /,
    );
    assert.match(wrong.line("program.audit_log"), /^✗ The audit log cannot be written.*→ Let AUDIT_LOG name/);
    writeFileSync(POLICY_FILE, "rules: []\n");
    const right = await look({ ...NOTHING_WORKS, POLICY_FILE, AUDIT_LOG: join(folder, "audit.log") });
    assert.match(right.line("program.policy"), /^✓/);
    assert.match(right.line("program.audit_log"), /^✓/);
    rmSync(folder, { recursive: true });
  });

  test("a client in CLIENTS with a scope that no tool declares is a failure", async () => {
    const CLIENTS =
      '[{"client_id":"ci","redirect_uris":["https://ci.example.com/cb"],"scope":"wether:read"}]';
    const { line } = await look({ ...NOTHING_WORKS, CLIENTS });
    assert.match(
      line("program.tools"),
      /^✗ The server would not start: .*wether:read.*→ Correct the declaration/,
    );
  });
});
