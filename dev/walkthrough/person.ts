/** `--as person`: registers, sends the browser, calls the tools, refreshes and signs out. */
import { readResourceMetadata, readServerMetadata, requestWithoutToken, type Walk } from "./discovery.ts";
import { refresh, refreshAgain, revoke } from "./end.ts";
import { listenOnLoopback } from "./loopback.ts";
import { createMcpClient } from "./mcp.ts";
import type { Settings } from "./settings.ts";
import { checkRedirect, newAuthorization, redeemCode, register, signIn } from "./sign-in.ts";
import { callTools, discover, listTools, shakeHands } from "./tools.ts";

export async function walkAsPerson(walk: Walk, { automatic, login }: Settings): Promise<void> {
  const { trace, url } = walk;
  trace.show(`An MCP client signs in at ${url} and calls its tools.`);

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
      knownAs: { clientId },
      grantedScope: tokens.scope ?? "",
      resourceMetadataUrl: challenge.resource_metadata,
      resource,
    });

    trace.step("Refresh the tokens");
    const renewed = await refresh(walk, server, authorization, tokens, names.includes("whoami"));
    trace.step("Use the replaced refresh token once more, as after a lost answer");
    await refreshAgain(walk, server, authorization, tokens, renewed);
    trace.step("Sign out: revoke, and call once more");
    await revoke(walk, server, authorization, renewed);
  } finally {
    loopback.close();
  }
}
