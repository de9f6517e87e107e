/** Does this server answer at BASE_URL, as itself, and does everything get through that clients send and need? */
import type { ConfiguredResource } from "../../config/resources.ts";
import { authorizationServerMetadataUrl, resourceMetadataUrl } from "../../oauth/server-metadata.ts";
import { counted } from "../../runtime/counted.ts";
import { type Answer, ask, describeOther, type Silence } from "./ask.ts";
import { checkCertificate } from "./certificate.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding, type Found, notChecked } from "./finding.ts";
import { within } from "./limit.ts";
import { checkProxyHeaders } from "./proxy-headers.ts";

const metadata = checkOf("address.metadata");

interface Address {
  /** What is asked there. */
  baseUrl: string;
  /** Where a server that runs on this computer listens; undefined if PORT does not say it. */
  port: number | undefined;
  timeoutMs: number;
}

export async function checkAddress(deployment: Deployment): Promise<Found> {
  const { baseUrl, port, resources = [], now, patience } = deployment;
  if (baseUrl === undefined) return notChecked("address", "the setting BASE_URL");
  const address = { baseUrl, port, timeoutMs: patience.answerMs };
  const url = authorizationServerMetadataUrl(baseUrl);
  const answer = await ask(url, address);
  const finding = await judgeMetadata(answer, url, address);
  const certificate = () => checkCertificate(baseUrl, now(), address.timeoutMs);
  const end = answer.silence ? [] : await within(patience.checkMs, "address.certificate", certificate);
  if (finding.status !== "ok") return [finding, end];
  const announced: unknown = answer.document?.protected_resources;
  // A release that does not say which resources it has has one alone.
  const isServed = ({ path }: ConfiguredResource) =>
    !Array.isArray(announced) || announced.includes(`${baseUrl}${path}`);
  const served = resources.filter(isServed); // what the server does not have needs no look at the way there
  return Promise.all([
    finding,
    judgeMissing(resources.filter((each) => !isServed(each))),
    forAll(served, (path) => checkResourceMetadata(path, address)),
    forAll(served, (path) => checkBearer(path, address)),
    end,
    checkProxyHeaders(deployment, baseUrl),
  ]);
}

function judgeMissing(missing: readonly ConfiguredResource[]): Found {
  if (missing.length === 0) return undefined;
  const paths = missing.map(({ path }) => path).join(", ");
  return checkOf(
    "address.resources",
  )`✗ The server that answers at BASE_URL does not have ${counted(missing.length, "resource")} of this configuration: ${paths}
    → Restart that server with the CONFIG_FILE that is read here, or let CONFIG_FILE name the one that it has.`;
}

/** Of several resources what is wrong with one is said by its name, and once what all have in common: then it is the way there. */
async function forAll(
  resources: readonly ConfiguredResource[],
  check: (path: string) => Promise<Finding>,
): Promise<Found> {
  const found = await Promise.all(resources.map(({ path }) => check(path)));
  const isWrong = found.map(({ status }) => status !== "ok");
  const [first] = found;
  if (new Set(isWrong).size > 1)
    return resources.map(({ name, path }, index) => {
      const finding = isWrong[index] ? found[index] : undefined;
      return finding && { ...finding, says: `“${name}” (${path}): ${finding.says}` };
    });
  if (first === undefined || found.length === 1) return first;
  return { ...first, says: `${first.says} (all ${found.length} resources)` };
}

async function judgeMetadata(answer: Answer, url: string, address: Address): Promise<Finding> {
  const { baseUrl } = address;
  if (answer.silence !== undefined) return judgeSilence(answer.silence, address);
  const issuer = answer.document?.issuer;
  if (issuer === baseUrl)
    return metadata`✓ This server answers at BASE_URL, and its issuer is byte for byte the same`;
  if (typeof issuer === "string")
    return metadata`✗ Another server, or one with another BASE_URL, answers at ${baseUrl}: its issuer is ${issuer}
      → If that is this server, set BASE_URL=${issuer} here, or restart it with BASE_URL=${baseUrl}.`;
  const what = describeOther(answer);
  if ([502, 503, 504].includes(answer.status)) {
    const says = `A proxy answers at BASE_URL, but reaches no server behind it: ${what}`;
    const port = await portOfServerHere(address);
    if (port !== undefined)
      return metadata`✗ ${says}
        → Let the proxy pass requests to port ${port}, where the server listens.`;
    return metadata`? ${says}
      → Start the server, then run the doctor again. If it runs: correct where the proxy passes requests to.`;
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
async function judgeSilence({ kind, says, fix }: Silence, address: Address): Promise<Finding> {
  const { baseUrl } = address;
  const port = kind === "refused" ? await portOfServerHere(address) : undefined;
  if (port !== undefined)
    return metadata`✗ The server listens on port ${port} of this computer, but ${says}, where BASE_URL leads
      → Start the reverse proxy for ${baseUrl}, or correct BASE_URL or PORT.`;
  if (kind === "refused")
    return metadata`? Nothing answers at BASE_URL yet: ${says}
      → Start the server (npm start), then run the doctor again. If it runs elsewhere: start its reverse proxy, or correct BASE_URL.`;
  if (kind === "timeout")
    return metadata`? BASE_URL could not be reached from here: ${says}
      → Open ${baseUrl}/healthz from outside, for example on a phone: some networks do not lead back into themselves. If that fails too, open the firewall or correct the DNS.`;
  const found = kind === "certificate" ? checkOf("address.certificate") : metadata;
  return found`✗ BASE_URL cannot be reached: ${says}
    → ${fix}`;
}

/** Undefined where no server listens on this computer, or PORT does not say where. */
async function portOfServerHere({ port, timeoutMs }: Address): Promise<number | undefined> {
  if (port === undefined) return undefined;
  const answer = await ask(`http://127.0.0.1:${port}/healthz`, { timeoutMs: Math.min(timeoutMs, 2_000) });
  return answer.document?.status === "ok" ? port : undefined;
}

async function checkResourceMetadata(path: string, { baseUrl, timeoutMs }: Address): Promise<Finding> {
  const found = checkOf("address.resource_metadata");
  const url = resourceMetadataUrl(`${baseUrl}${path}`);
  const answer = await ask(url, { timeoutMs });
  if (answer.document?.resource === `${baseUrl}${path}`)
    return found`✓ Clients find the MCP endpoint's metadata`;
  return found`✗ Clients cannot find the MCP endpoint's metadata at ${url}: ${describeOther(answer)}
    → Let the reverse proxy pass /.well-known/oauth-protected-resource and everything under it to the server.`;
}

/** A made-up token: the challenge shows whether the header arrived, and a proxy may drop the challenge itself. */
async function checkBearer(path: string, { baseUrl, timeoutMs }: Address): Promise<Finding> {
  const found = checkOf("address.bearer");
  const { status, headers, silence } = await ask(`${baseUrl}${path}`, {
    method: "POST",
    headers: { authorization: "Bearer made-up-by-the-doctor", "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }),
    timeoutMs,
  });
  const challenge = headers.get("www-authenticate") ?? "";
  if (silence !== undefined)
    return found`? Could not ask the MCP endpoint: ${silence.says}
      → ${silence.fix}`;
  if (status === 503)
    return found`✗ The MCP endpoint answers that it is unavailable (HTTP 503)
      → See what is said about Redis; the server's own log names the reason.`;
  if (status !== 401)
    return found`✗ The MCP endpoint answers a wrong token with HTTP ${status}, where this server says 401
      → Let the reverse proxy pass POST ${new URL(`${baseUrl}${path}`).pathname} to the server, without a login or cache of its own.`;
  if (challenge === "")
    return found`✗ The header WWW-Authenticate does not come back from the MCP endpoint: clients do not learn where to sign in
      → Let the reverse proxy pass on WWW-Authenticate and the server's own 401.`;
  if (challenge.includes("invalid_token"))
    return found`✓ Tokens reach the MCP endpoint, and its challenge comes back`;
  return found`✗ The header Authorization does not reach the MCP endpoint: every token would be lost on the way
    → Let the reverse proxy pass on the Authorization header (nginx does; Apache's CGI needs CGIPassAuth On), and use no login of its own there.`;
}
