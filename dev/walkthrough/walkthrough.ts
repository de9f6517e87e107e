/**
 * `npm run walkthrough`: plays an MCP client by hand against a running server, prints every step, and checks each
 * answer against what the specifications say. Exit code 0 only if every step succeeded.
 */
import { readResourceMetadata, readServerMetadata, requestWithoutToken, type Walk } from "./discovery.ts";
import { refresh, refreshAgain, revoke } from "./end.ts";
import { createSend } from "./http.ts";
import { listenOnLoopback } from "./loopback.ts";
import { createMcpClient } from "./mcp.ts";
import { checkRedirect, newAuthorization, redeemCode, register, signIn } from "./sign-in.ts";
import { callTools, discover, listTools, shakeHands } from "./tools.ts";
import { createTrace, StepFailure, type Trace } from "./trace.ts";

const PORT = process.env.PORT || "3000";
const DEFAULT_URL = `http://localhost:${PORT}/mcp`;

interface Settings {
  url: string;
  /** Sign in without a person where that is possible: at the demo. */
  automatic: boolean;
  login: string;
}

const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
const trace = createTrace(console.log, console.error, colour);
try {
  await walkThrough(readSettings(process.env), trace);
  trace.succeeded();
} catch (error) {
  trace.failed(error);
  process.exitCode = 1;
}

async function walkThrough({ url, automatic, login }: Settings, trace: Trace): Promise<void> {
  trace.show(`An MCP client signs in at ${url} and calls its tools.`);
  const walk: Walk = { send: createSend(trace), trace, url };

  trace.step("Knock without a token");
  const challenge = await requestWithoutToken(walk);
  trace.step("Ask the resource who issues its tokens");
  const resource = await readResourceMetadata(walk, challenge.resource_metadata);
  trace.step("Ask the authorization server what it offers");
  const [issuer] = resource.authorization_servers;
  const server = await readServerMetadata(walk, issuer);

  trace.step("Register as a client");
  const loopback = await listenOnLoopback();
  try {
    const { redirectUri } = loopback;
    const clientId = await register(walk, server, redirectUri);
    const { scope } = challenge;
    const authorization = newAuthorization({ clientId, redirectUri, resource: resource.resource, scope });
    trace.step("Send the browser: consent, login, and back");
    const came = await signIn(walk, server, authorization, loopback, { automatic, login });
    trace.step("Read the answer the browser brought");
    const code = checkRedirect(walk, issuer, authorization, came);
    trace.step("Exchange the code for tokens");
    const tokens = await redeemCode(walk, server, authorization, code);

    const client = createMcpClient(walk.send, url, tokens.access_token);
    trace.step("Initialize MCP (2025-11-25: with a handshake)");
    await shakeHands(walk, client);
    trace.step("List the tools (2025-11-25)");
    const names = await listTools(walk, client);
    trace.step("Discover and list (2026-07-28: every request stands alone)");
    await discover(walk, client, names);
    trace.step("Call the tools");
    await callTools(walk, client, names, {
      clientId,
      grantedScope: tokens.scope ?? "",
      resourceMetadataUrl: challenge.resource_metadata,
      resource,
    });

    trace.step("Refresh the tokens");
    const renewed = await refresh(walk, server, authorization, tokens, names.includes("whoami"));
    trace.step("Use the replaced refresh token once more, as after a lost answer");
    await refreshAgain(walk, server, authorization, tokens, renewed);
    trace.step("Sign out: revoke, and knock again");
    await revoke(walk, server, authorization, renewed);
  } finally {
    loopback.close();
  }
}

/** `URL` is the server's base URL or its /mcp URL. */
function readSettings(env: NodeJS.ProcessEnv): Settings {
  const given = env.URL || DEFAULT_URL;
  if (!/^https?:\/\//i.test(given) || !URL.canParse(given))
    throw new StepFailure({
      expected: "URL to be the http(s) address of a server",
      came: given,
      hint: `For example: URL=${DEFAULT_URL} npm run walkthrough`,
    });
  const { origin, pathname, hostname } = new URL(given);
  const path = pathname.replace(/\/+$/, "");
  const isLocal = /^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname);
  return {
    url: origin + (path.endsWith("/mcp") ? path : `${path}/mcp`),
    automatic: isLocal && env.AUTO !== "0",
    login: env.LOGIN || "alice",
  };
}
