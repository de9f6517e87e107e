/** Does this server answer at BASE_URL, as itself, and does everything get through that clients send and need? */
import { authorizationServerMetadataUrl, resourceMetadataUrl } from "../../oauth/server-metadata.ts";
import { type Answer, ask, describeOther, type NoAnswer } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";

const metadata = checkOf("address.metadata");

export interface AddressOptions {
  baseUrl: string;
  /** Where a server that runs on this computer listens. */
  port: number;
  timeoutMs: number;
}

/** `isOurs`: this server answers there, so that further checks make sense. */
export async function checkAddress(
  options: AddressOptions,
): Promise<{ findings: Finding[]; isOurs: boolean; saysCertificate: boolean }> {
  const url = authorizationServerMetadataUrl(options.baseUrl);
  const asked = await ask(url, options);
  const saysCertificate = "kind" in asked && asked.kind === "tls";
  const finding = await ("kind" in asked
    ? explainSilence(asked, options)
    : judgeMetadata(asked, url, options));
  if (finding.status !== "ok") return { findings: [finding], isOurs: false, saysCertificate };
  const others = await Promise.all([checkResourceMetadata(options), checkBearer(options)]);
  return { findings: [finding, ...others], isOurs: true, saysCertificate };
}

async function judgeMetadata(answer: Answer, url: string, options: AddressOptions): Promise<Finding> {
  const { baseUrl, port } = options;
  const issuer = answer.document?.issuer;
  if (issuer === baseUrl)
    return metadata`✓ This server answers at BASE_URL, and its issuer is byte for byte the same`;
  if (typeof issuer === "string")
    return metadata`✗ Another server, or one with another BASE_URL, answers at ${baseUrl}: its issuer is ${issuer}
      → If that is this server, set BASE_URL=${issuer} here, or restart it with BASE_URL=${baseUrl}.`;
  const what = describeOther(answer);
  if ([502, 503, 504].includes(answer.status)) {
    const isHere = await listensHere(options);
    const fix = isHere
      ? `Let the proxy pass requests to port ${port}, where the server listens.`
      : "Start the server, then run the doctor again. If it runs: correct where the proxy passes requests to.";
    return metadata`${isHere ? "✗" : "?"} A proxy answers at BASE_URL, but reaches no server behind it: ${what}
      → ${fix}`;
  }
  const { pathname } = new URL(baseUrl);
  const fix =
    pathname === "/"
      ? "Let the reverse proxy pass every path of this host to the server, /.well-known/ too; or correct BASE_URL."
      : `Let the reverse proxy pass ${pathname}/ and /.well-known/oauth-*${pathname} of this host to the server (deploy/nginx/path-*.conf).`;
  return metadata`✗ Something else than this server answers at ${url}: ${what}
    → ${fix}`;
}

/** Whether that is a fault depends on whether the server is meant to run already, which nobody can know from here. */
async function explainSilence({ kind, says, fix }: NoAnswer, options: AddressOptions): Promise<Finding> {
  const { baseUrl, port } = options;
  if (kind === "refused" && (await listensHere(options)))
    return metadata`✗ The server listens on port ${port} of this computer, but ${says}, where BASE_URL leads
      → Start the reverse proxy for ${baseUrl}, or correct BASE_URL or PORT.`;
  if (kind === "refused")
    return metadata`? Nothing answers at BASE_URL yet: ${says}
      → Start the server (npm start), then run the doctor again. If it runs elsewhere: start its reverse proxy, or correct BASE_URL.`;
  if (kind === "timeout")
    return metadata`? BASE_URL could not be reached from here: ${says}
      → Open ${baseUrl}/healthz from outside, for example on a phone: some networks do not lead back into themselves. If that fails too, open the firewall or correct the DNS.`;
  return metadata`✗ BASE_URL cannot be reached: ${says}
    → ${fix}`;
}

async function listensHere({ port, timeoutMs }: AddressOptions): Promise<boolean> {
  const asked = await ask(`http://127.0.0.1:${port}/healthz`, { timeoutMs: Math.min(timeoutMs, 2_000) });
  return !("kind" in asked) && asked.document?.status === "ok";
}

async function checkResourceMetadata({ baseUrl, timeoutMs }: AddressOptions): Promise<Finding> {
  const found = checkOf("address.resource_metadata");
  const url = resourceMetadataUrl(`${baseUrl}/mcp`);
  const asked = await ask(url, { timeoutMs });
  if (!("kind" in asked) && asked.document?.resource === `${baseUrl}/mcp`)
    return found`✓ Clients find the MCP endpoint's metadata`;
  return found`✗ Clients cannot find the MCP endpoint's metadata at ${url}: ${describeOther(asked)}
    → Let the reverse proxy pass /.well-known/oauth-protected-resource and everything under it to the server.`;
}

/** A made-up token: the challenge shows whether the header arrived, and a proxy may drop the challenge itself. */
async function checkBearer({ baseUrl, timeoutMs }: AddressOptions): Promise<Finding> {
  const found = checkOf("address.bearer");
  const asked = await ask(`${baseUrl}/mcp`, {
    method: "POST",
    headers: { authorization: "Bearer made-up-by-the-doctor", "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }),
    timeoutMs,
  });
  if ("kind" in asked)
    return found`? Could not ask the MCP endpoint: ${asked.says}
      → ${asked.fix}`;
  const { status, headers } = asked;
  const challenge = headers.get("www-authenticate") ?? "";
  if (status === 503)
    return found`✗ The MCP endpoint answers that it is unavailable (HTTP 503)
      → See what is said about Redis; the server's own log names the reason.`;
  if (status !== 401)
    return found`✗ The MCP endpoint answers a wrong token with HTTP ${status}, where this server says 401
      → Let the reverse proxy pass POST ${new URL(`${baseUrl}/mcp`).pathname} to the server, without a login or cache of its own.`;
  if (challenge === "")
    return found`✗ The header WWW-Authenticate does not come back from the MCP endpoint: clients do not learn where to sign in
      → Let the reverse proxy pass on WWW-Authenticate and the server's own 401.`;
  if (challenge.includes("invalid_token"))
    return found`✓ Tokens reach the MCP endpoint, and its challenge comes back`;
  return found`✗ The header Authorization does not reach the MCP endpoint: every token would be lost on the way
    → Let the reverse proxy pass on the Authorization header (nginx does; Apache's CGI needs CGIPassAuth On), and use no login of its own there.`;
}
