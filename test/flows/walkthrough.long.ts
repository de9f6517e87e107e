/** `npm run walkthrough` against the demo, and against servers that are wrong: it must say so, and exit accordingly. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { Browser } from "../../dev/client/browser.ts";
import { APPLICATION, JOB, MACHINE } from "../../dev/demo/callers.ts";
import { CALLERS } from "../../dev/walkthrough/callers.ts";
import { helpText, readSettings } from "../../dev/walkthrough/settings.ts";
import { StepFailure } from "../../dev/walkthrough/trace.ts";
import { builtProgram } from "../support/built-program.ts";
import { endDemos, startDemo } from "../support/demo-process.ts";
import { freePort } from "../support/free-port.ts";
import { signIn } from "../support/sign-in.ts";

after(endDemos);

interface Run {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

const HOPS = [
  "Knock without a token",
  "Ask the resource who issues its tokens",
  "Ask the authorization server what it offers",
  "Register as a client",
  "Send the browser: consent, login, and back",
  "Read the answer the browser brought",
  "Exchange the code for tokens",
  "Initialize MCP",
  "List the tools",
  "Discover and list",
  "Call the tools",
  "Refresh the tokens",
  "Use the replaced refresh token once more",
  "Sign out: revoke, and call once more",
];

const children: ChildProcess[] = [];

// No PATH to find a browser on: nothing may open on the screen of whoever runs the tests.
function start(script: string, env: Record<string, string>, args: readonly string[] = []): ChildProcess {
  const child = spawn(process.execPath, [builtProgram(script), ...args], {
    env: { PATH: "/nonexistent", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  return child;
}

async function finish(child: ChildProcess): Promise<Run> {
  const exit = once(child, "exit") as Promise<[number | null]>;
  const [stdout, stderr, [exitCode]] = await Promise.all([text(child.stdout!), text(child.stderr!), exit]);
  return { exitCode, stdout, stderr };
}

function walkThrough(url: string, env: Record<string, string> = {}): Promise<Run> {
  return finish(start("dev/walkthrough/walkthrough", { URL: url, ...env }));
}

function walkAs(caller: string, url: string, env: Record<string, string> = {}): Promise<Run> {
  return finish(start("dev/walkthrough/walkthrough", { URL: url, ...env }, ["--as", caller]));
}

/** Reads on until the output matches; what was read before stays read. */
async function waitFor(child: ChildProcess, pattern: RegExp): Promise<string> {
  let read = "";
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    read += String(chunk);
    const found = pattern.exec(read);
    if (found) return found[0];
  }
  throw new Error(`the output ended without ${pattern}: ${read}`);
}

async function listening(server: Server, port: number): Promise<Server> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function assertNoStackTrace({ stdout, stderr }: Run): void {
  assert.doesNotMatch(stdout + stderr, /^\s+at .*:\d+:\d+\)?$/m);
}

after(async () => {
  const running = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
  await Promise.all(
    running.map((child) => {
      child.kill("SIGKILL");
      return once(child, "exit");
    }),
  );
});

describe("walkthrough against the demo", () => {
  let url: string;
  let printed: string;
  let alice: Run;
  let bob: Run;

  before(async () => {
    const demo = await startDemo({ LOG_LEVEL: "error" });
    printed = demo.output();
    url = demo.baseUrl;
    // By the base URL and by the /mcp URL.
    [alice, bob] = await Promise.all([walkThrough(url), walkThrough(`${url}/mcp`, { LOGIN: "bob" })]);
  });

  test("the demo prints how to connect, as its page for people says it", async () => {
    const page = await (await fetch(url)).text();
    const [, connect = ""] = page.split("\nConnect\n");
    assert.match(connect, /claude mcp add .* weather-demo http:\/\/localhost:\d+\/mcp\n/);
    assert.ok(printed.includes(connect.trimEnd()), printed);
  });

  test("every hop succeeds, in order, and the tools answer", () => {
    assert.equal(alice.exitCode, 0, alice.stdout + alice.stderr);
    const titles = [...alice.stdout.matchAll(/^ ?(\d+)\. (.*)$/gm)].map(([, number, title]) => [
      number,
      title,
    ]);
    assert.equal(titles.length, HOPS.length);
    for (const [index, step] of HOPS.entries()) {
      assert.equal(titles[index]?.[0], String(index + 1));
      assert.ok(titles[index]?.[1]?.startsWith(step), `${titles[index]?.[1]} is not "${step}"`);
    }
    assert.match(alice.stdout, /→ subject: alice$/m);
    assert.match(alice.stdout, /→ Hello, Alice Example!$/m);
    assert.match(alice.stdout, /→ city: Berlin$/m);
    assert.match(alice.stdout, /→ the same answer again/);
    assert.match(alice.stdout, /✓ All 14 hops succeeded\.$/m);
    assert.equal(alice.stderr, "");
  });

  test("a user without the scope is refused the weather with 403, which is a success", () => {
    assert.equal(bob.exitCode, 0, bob.stdout + bob.stderr);
    assert.match(bob.stdout, /→ subject: bob$/m);
    assert.match(bob.stdout, /→ tools: whoami, say_hello$/m);
    assert.match(bob.stdout, /← 403 Forbidden\n +WWW-Authenticate +Bearer error="insufficient_scope"/);
    assert.match(bob.stdout, /→ refused as it must be: ask for "weather:read"/);
    assert.doesNotMatch(bob.stdout, /city: Berlin/);
  });

  test("no token, code, verifier, challenge or state is printed in full", () => {
    for (const { stdout } of [alice, bob]) {
      assert.match(stdout, /mcp_at_\S{3}…/);
      // All of them are at least 43 base64url characters long; nothing else in the trace is.
      assert.doesNotMatch(stdout, /mcp_(at|rt|ac)_[\w-]{20,}/);
      assert.doesNotMatch(stdout, /[\w-]{43,}/);
    }
  });

  test("no colours where no terminal reads along", () => {
    assert.ok(!alice.stdout.includes("\x1b"));
  });

  test("a person can sign in, and can say no", async () => {
    for (const approve of [true, false]) {
      const child = start("dev/walkthrough/walkthrough", { URL: url, AUTO: "0" });
      const address = await waitFor(child, /http:\S+\/authorize\?\S+(?=\n)/);
      const browser = new Browser({ stopAt: ({ hostname }) => hostname === "127.0.0.1" });
      const answer = await signIn(browser, address, { approve });
      assert.equal((await fetch(answer)).status, 200);
      const { exitCode, stderr } = await finish(child);
      assert.equal(exitCode, approve ? 0 : 1, stderr);
      if (!approve) assert.match(stderr, /Hop 6 failed.*error=access_denied.*hint /s);
    }
  });

  test("callers without a browser go all the way, and meet the refusal that protects them", async () => {
    const WALKS = {
      machine: [
        "Ask for a token with our own id and secret",
        /→ kind: client$/m,
        /← 400 Bad Request\n +→ refused as it must be: invalid_scope/,
        /← 401 Unauthorized\n.*\n +→ refused as it must be: invalid_client/,
        /→ the token has ended/,
        /All 9 hops/,
      ],
      enterprise: [
        "Exchange the ID token for an assertion (ID-JAG)",
        /its header: typ oauth-id-jag\+jwt/,
        /→ good for 300 s$/m,
        /→ kind: user$/m,
        /→ subject: alice$/m,
        /← 400 Bad Request\n +→ refused as it must be: invalid_grant/,
        /All 12 hops/,
      ],
      workload: [
        "Take a token of our service account from the platform",
        /→ kind: workload$/m,
        /→ subject: system:serviceaccount:batch:nightly$/m,
        /← 400 Bad Request\n +→ refused as it must be: invalid_grant/,
        /All 8 hops/,
      ],
      "foreign-token": [
        "Ask the other issuer for an access token for this resource",
        /its header: typ at\+jwt/,
        /→ kind: client$/m,
        /Bring a token that the same issuer gave for another API/,
        /Bearer garbage\n[^←]*← 401 Unauthorized/,
        /All 8 hops/,
      ],
    };
    await Promise.all(
      Object.entries(WALKS).map(async ([caller, seen]) => {
        const { exitCode, stdout, stderr } = await walkAs(caller, url);
        assert.equal(exitCode, 0, stdout + stderr);
        for (const each of seen)
          assert.ok(
            typeof each === "string" ? stdout.includes(each) : each.test(stdout),
            `${each}: ${stdout}`,
          );
        assert.match(stdout, /→ city: Berlin$/m);
        // No secret, token or assertion in full.
        assert.doesNotMatch(stdout, /demo-secret-|eyJ[\w-]+\.|[\w-]{43,}/);
        assert.ok(printed.includes(`walkthrough --as ${caller}`) || printed.includes(`-- --as ${caller}`));
      }),
    );
  });

  test("a tool calls another API in the person's name: exchanged, kept, refused for want of a scope, and stepped up", async () => {
    const { exitCode, stdout, stderr } = await finish(
      start("dev/walkthrough/walkthrough", { URL: url }, ["--exchange"]),
    );
    assert.equal(exitCode, 0, stdout + stderr);
    for (const seen of [
      /→ the API was shown a token of alice, for https:\/\/orders\.example\.com alone, with the scope orders:read /,
      /→ the same jti: the token was kept/,
      /← 403 Forbidden\n.*insufficient_scope.*\n +→ .*ask for "orders:read orders:write"/,
      /consent page "Allow access\?/,
      /→ orders: umbrella rubber boots$/m,
      /with the scope orders:write /,
      /✓ All 16 hops/,
    ])
      assert.match(stdout, seen);
    assert.doesNotMatch(stdout, /eyJ[\w-]+\.|[\w-]{43,}/);
    assert.ok(printed.includes("--exchange"));
  });

  test("a server of another make behind the demo's: listed by scope, called, stepped up, refused, streamed, and told who calls", async () => {
    const demo = await startDemo({}, "--backend");
    const { exitCode, stdout, stderr } = await finish(
      start("dev/walkthrough/walkthrough", { URL: `${demo.baseUrl}/mcp` }, ["--backend"]),
    );
    assert.equal(exitCode, 0, stdout + stderr);
    for (const seen of [
      /→ crm 1\.0\.0 speaks 2025-11-25$/m,
      /→ tools: find_customers, count_customers, who_is_calling$/m,
      /→ customers: Ada's Umbrellas Boots & Sons$/m,
      /→ it names the person, http:\/\/localhost:\d+#alice, this client, and the scope crm:read$/m,
      /→ our access token did not come to it/,
      /→ after \d+ ms: 1 of 4\n.*2 of 4\n.*3 of 4\n.*4 of 4\n +← 200 OK/,
      /← 403 Forbidden\n.*insufficient_scope.*\n +→ .*ask for "crm:read crm:write"/,
      /→ customers: .* Cara's Coats$/m,
      /"delete_customers".*\n +← 200 OK\n +→ refused as it must be/,
      /→ it is: the whole grant has ended/,
      /✓ All 18 hops/,
    ])
      assert.match(stdout, seen);
    assert.doesNotMatch(stdout, /eyJ[\w-]+\.|[\w-]{43,}/);
    assert.ok(demo.output().includes("calls count_customers at /crm/mcp"), demo.output());
    // All that it says is enough: as it is printed, the file is good.
    const [, printedFile = ""] = /in CONFIG_FILE:\n\n( {2}resources:.*?)\n\n/s.exec(demo.output()) ?? [];
    const { needs } = parse(printedFile).resources["/crm/mcp"];
    assert.deepEqual(needs.tools.add_customer, ["crm:write"]);
    // What was there without it is there with it.
    assert.equal((await walkThrough(demo.baseUrl)).exitCode, 0);
  });

  test("a stream that is held back until its end is told from one of a server that is far away", async () => {
    const { baseUrl } = await startDemo({}, "--backend");
    /** In the walkthrough's process, for the call that streams. */
    const walkWith = (fetched: string) => {
      const script = `const { fetch } = globalThis;
        globalThis.fetch = async (url, request) =>
          String(request?.body).includes("count_customers") ? ${fetched} : fetch(url, request);`;
      const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(script)}`;
      return finish(
        start("dev/walkthrough/walkthrough", { URL: `${baseUrl}/mcp`, NODE_OPTIONS }, ["--backend"]),
      );
    };
    const [far, held] = await Promise.all([
      walkWith("new Promise((go) => setTimeout(go, 700)).then(() => fetch(url, request))"),
      walkWith("fetch(url, request).then(async (answer) => new Response(await answer.text(), answer))"),
    ]);
    assert.equal(far.exitCode, 0, far.stdout + far.stderr);
    assert.match(far.stdout, /each came when it was sent/);
    assert.equal(held.exitCode, 1);
    assert.match(held.stderr, /expected +reports while the tool works/);
  });

  test("without a server behind it, the walk to one says which demo has it", async () => {
    const run = await finish(start("dev/walkthrough/walkthrough", { URL: url }, ["--backend"]));
    assert.equal(run.exitCode, 1);
    assert.match(run.stderr, /Hop 1 failed.*hint .*--backend/s);
    assertNoStackTrace(run);
  });

  test("docs/machines.md names every caller, and docs/tools.md what the demo knows of them", async () => {
    const commands = [
      ...readFileSync("docs/machines.md", "utf8").matchAll(/^npm run walkthrough -- --as (.+)$/gm),
    ];
    assert.deepEqual(["person", ...commands.map(([, caller]) => caller)], Object.keys(CALLERS));
    const [, section = ""] = readFileSync("docs/tools.md", "utf8").split("\n## The demo\n");
    for (const { id, secret } of [MACHINE, APPLICATION, JOB])
      assert.match(section, new RegExp(`^\\| \`${id}\` \\|.*\\| \`${secret}\` \\|$`, "m"));
    const { port } = new URL(url);
    const [, line = ""] = /^```sh\n(curl .*?)^```/ms.exec(section) ?? [];
    const here = line
      .replace("localhost:3001", `localhost:${Number(port) + 1}`)
      .replace("localhost:3000", `localhost:${port}`);
    const { stdout } = await promisify(execFile)("sh", ["-c", here]);
    const { token } = JSON.parse(stdout).status;
    // The walkthrough goes with an assertion of one's own, too.
    const run = await walkAs("workload", url, { ASSERTION: token });
    assert.equal(run.exitCode, 0, run.stdout + run.stderr);
    assert.match(run.stdout, /✓ All 7 hops/);
  });

  test("what a person may not have, their company's application does not get either", async () => {
    const { exitCode, stdout } = await walkAs("enterprise", url, { LOGIN: "bob" });
    assert.equal(exitCode, 0, stdout);
    assert.match(stdout, /→ granted scope: none$/m);
    assert.match(stdout, /← 403 Forbidden\n +WWW-Authenticate +Bearer error="insufficient_scope"/);
  });

  test("a client and an assertion that were given are used, and a hop that fails ends with 1", async () => {
    const wrong = { CLIENT_ID: "nightly", CLIENT_SECRET: "another-one" };
    const garbage = "eyJhbGciOiJub25lIn0.e30.";
    const [machine, enterprise, foreign] = await Promise.all([
      walkAs("machine", url, wrong),
      walkAs("enterprise", url, { ASSERTION: "none" }),
      walkAs("foreign-token", url, { TOKEN: garbage }),
    ]);
    assert.match(machine.stderr, /Hop 4 failed.*expected +200 OK.*401.*invalid_client/s);
    assert.match(enterprise.stderr, /Hop 4 failed.*expected +a signed JWT/s);
    assert.match(foreign.stderr, /Hop 4 failed.*401/s);
    for (const run of [machine, enterprise, foreign]) {
      assert.equal(run.exitCode, 1);
      assertNoStackTrace(run);
    }
  });

  test("a server called by another name than its own is found out", async () => {
    const run = await walkThrough(url.replace("localhost", "127.0.0.1"));
    assert.equal(run.exitCode, 1);
    assert.match(run.stderr, /Hop 2 failed/);
    assert.ok(run.stderr.includes(`Call the server by its own name (URL=${url}/mcp)`), run.stderr);
    assertNoStackTrace(run);
  });
});

describe("walkthrough without the demo", () => {
  test("nobody answers: it says how to start a server", async () => {
    const port = await freePort();
    const run = await walkThrough(`http://localhost:${port}/mcp`);
    assert.equal(run.exitCode, 1);
    assert.ok(run.stderr.includes(`No server answers at http://localhost:${port}/mcp`), run.stderr);
    assert.match(run.stderr, /Start it with `PORT=\d+ npm run demo`/);
    assertNoStackTrace(run);
  });

  test("an address that is none: it says what one looks like", async () => {
    const run = await walkThrough("localhost:3000");
    assert.equal(run.exitCode, 1);
    assert.match(
      run.stderr,
      /cannot start.*URL=http:\/\/localhost:3000\/mcp (npm run|npx mcp-oidc-proxy) walkthrough/s,
    );
    assertNoStackTrace(run);
  });

  test("--help lists the callers; another one is refused in words", () => {
    assert.equal(readSettings(["--help"], {}), undefined);
    const help = helpText();
    for (const caller of Object.keys(CALLERS)) {
      assert.match(help, new RegExp(`^  ${caller} `, "m"));
      assert.equal(readSettings(["--as", caller], {})?.as, caller);
      assert.throws(() => readSettings(["--as", "robot"], {}), new RegExp(`${caller}\\b.*, got robot`));
    }
    assert.throws(() => readSettings(["--robot"], {}), StepFailure);
    assert.deepEqual(
      [readSettings(["--exchange"], {})?.exchange, readSettings([], {})?.exchange],
      [true, false],
    );
    assert.throws(() => readSettings(["--exchange", "--as", "machine"], {}), /--exchange alone/);
    assert.throws(() => readSettings(["--backend", "--exchange"], {}), /--exchange or --backend, got both/);
    for (const URL of [
      "http://localhost:3000",
      "http://localhost:3000/mcp/",
      "http://localhost:3000/crm/mcp",
    ])
      assert.equal(readSettings(["--backend"], { URL })?.url, "http://localhost:3000/crm/mcp");
  });

  test("a server elsewhere trusts nobody of the demo: it says what to give", () => {
    const needed = {
      machine: { CLIENT_ID: "id", CLIENT_SECRET: "secret" },
      workload: { ASSERTION: "assertion" },
      enterprise: { CLIENT_ID: "id", CLIENT_SECRET: "secret", ASSERTION: "assertion" },
      "foreign-token": { TOKEN: "token" },
    };
    const URL = "https://mcp.example.com";
    for (const [caller, given] of Object.entries(needed)) {
      for (const name of Object.keys(given)) {
        const without = { ...given, [name]: "" };
        assert.throws(() => readSettings(["--as", caller], { URL, ...without }), new RegExp(name), caller);
      }
      const { as, url } = readSettings(["--as", caller], { URL, ...given }) ?? {};
      assert.deepEqual([as, url], [caller, `${URL}/mcp`]);
    }
  });

  test("servers that break a rule are refused at the hop that shows it", async () => {
    await Promise.all([
      refused({ challengeStatus: 200 }, /Hop 1 failed.*expected +401/s),
      refused({ issuerSuffix: "/" }, /Hop 3 failed.*byte for byte/s),
      refused({ challengeMethods: ["plain"] }, /Hop 3 failed.*S256/s),
      refused(
        {},
        /Hop 3 failed.*grant_types_supported with client_credentials.*docs\/machines\.md/s,
        "machine",
      ),
    ]);
  });
});

interface Mistakes {
  challengeStatus?: number;
  issuerSuffix?: string;
  challengeMethods?: string[];
}

/** Runs the walkthrough against a fake that answers the first three steps, with a mistake. */
async function refused(mistakes: Mistakes, complaint: RegExp, caller = "person"): Promise<void> {
  const server = await listening(createServer(), 0);
  try {
    const issuer = `http://127.0.0.1:${portOf(server)}`;
    answerWith(server, issuer, mistakes);
    const run = await walkAs(caller, issuer);
    assert.equal(run.exitCode, 1, run.stdout);
    assert.match(run.stderr, complaint);
    assertNoStackTrace(run);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function answerWith(server: Server, issuer: string, mistakes: Mistakes): void {
  const { challengeStatus = 401, issuerSuffix = "", challengeMethods = ["S256"] } = mistakes;
  const documents: Record<string, object> = {
    "/.well-known/oauth-protected-resource/mcp": {
      resource: `${issuer}/mcp`,
      authorization_servers: [issuer],
    },
    "/.well-known/oauth-authorization-server": {
      issuer: issuer + issuerSuffix,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      registration_endpoint: `${issuer}/register`,
      revocation_endpoint: `${issuer}/revoke`,
      response_types_supported: ["code"],
      grant_types_supported: ["authorization_code", "refresh_token"],
      code_challenge_methods_supported: challengeMethods,
      token_endpoint_auth_methods_supported: ["none"],
      authorization_response_iss_parameter_supported: true,
    },
  };
  server.on("request", (req, res) => {
    const document = documents[req.url ?? ""];
    const metadata = `${issuer}/.well-known/oauth-protected-resource/mcp`;
    if (document === undefined)
      res.writeHead(challengeStatus, { "www-authenticate": `Bearer resource_metadata="${metadata}"` }).end();
    else res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
  });
}
