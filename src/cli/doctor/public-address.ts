/** Does this server answer at BASE_URL, as itself, and does everything get through that clients send and need? */
import { parseJsonObject } from "../../oauth/json.ts";
import { authorizationServerMetadataUrl, resourceMetadataUrl } from "../../oauth/server-metadata.ts";
import { type Answer, ask, describeOther, type NoAnswer } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";

const { ok, failure, unknown } = checkOf("address.metadata");

export interface AddressOptions {
  baseUrl: string;
  /** Where a server that runs on this computer listens. */
  port: number;
  timeoutMs: number;
}

/** `isOurs`: this server answers there, so that further checks make sense. */
export async function checkAddress(
  options: AddressOptions,
): Promise<{ findings: Finding[]; isOurs: boolean; saysCertificate?: boolean }> {
  const { baseUrl, timeoutMs } = options;
  const url = authorizationServerMetadataUrl(baseUrl);
  const asked = await ask(url, { timeoutMs, headers: { accept: "application/json" } });
  if ("none" in asked) {
    const findings = [await explainSilence(asked.none, options)];
    return { findings, isOurs: false, saysCertificate: asked.none.kind === "tls" };
  }
  const finding = await judgeMetadata(asked.answer, url, options);
  if (finding.status !== "ok") return { findings: [finding], isOurs: false };
  const others = await Promise.all([checkResourceMetadata(options), checkBearer(options)]);
  return { findings: [finding, ...others], isOurs: true };
}

async function judgeMetadata(answer: Answer, url: string, options: AddressOptions): Promise<Finding> {
  const { baseUrl } = options;
  const issuer = answer.status === 200 ? parseJsonObject(answer.text)?.issuer : undefined;
  if (issuer === baseUrl)
    return ok("This server answers at BASE_URL, and its issuer is byte for byte the same");
  if (typeof issuer === "string")
    return failure(
      `Another server, or one with another BASE_URL, answers at ${baseUrl}: its issuer is ${issuer}`,
      `If that is this server, set BASE_URL=${issuer} here, or restart it with BASE_URL=${baseUrl}.`,
    );
  const what = describeOther(answer);
  if ([502, 503, 504].includes(answer.status)) {
    const says = `A proxy answers at BASE_URL, but reaches no server behind it: ${what}`;
    if (await listensHere(options))
      return failure(says, `Let the proxy pass requests to port ${options.port}, where the server listens.`);
    return unknown(
      says,
      "Start the server, then run the doctor again. If it runs: correct where the proxy passes requests to.",
    );
  }
  const { pathname } = new URL(baseUrl);
  return failure(
    `Something else than this server answers at ${url}: ${what}`,
    pathname === "/"
      ? "Let the reverse proxy pass every path of this host to the server, /.well-known/ too; or correct BASE_URL."
      : `Let the reverse proxy pass ${pathname}/ and /.well-known/oauth-*${pathname} of this host to the server (deploy/nginx/path-*.conf).`,
  );
}

/** Whether that is a fault depends on whether the server is meant to run already, which nobody can know from here. */
async function explainSilence({ kind, says, fix }: NoAnswer, options: AddressOptions): Promise<Finding> {
  const { baseUrl, port } = options;
  if (kind === "refused") {
    if (await listensHere(options))
      return failure(
        `The server listens on port ${port} of this computer, but ${says}, where BASE_URL leads`,
        `Start the reverse proxy for ${baseUrl}, or correct BASE_URL or PORT.`,
      );
    return unknown(
      `Nothing answers at BASE_URL yet: ${says}`,
      "Start the server (npm start), then run the doctor again. If it runs elsewhere: start its reverse proxy, or correct BASE_URL.",
    );
  }
  if (kind === "timeout")
    return unknown(
      `BASE_URL could not be reached from here: ${says}`,
      `Open ${baseUrl}/healthz from outside, for example on a phone: some networks do not lead back into themselves. If that fails too, open the firewall or correct the DNS.`,
    );
  return failure(`BASE_URL cannot be reached: ${says}`, fix);
}

async function listensHere({ port, timeoutMs }: AddressOptions): Promise<boolean> {
  const asked = await ask(`http://127.0.0.1:${port}/healthz`, { timeoutMs: Math.min(timeoutMs, 2_000) });
  return "answer" in asked && parseJsonObject(asked.answer.text)?.status === "ok";
}

async function checkResourceMetadata({ baseUrl, timeoutMs }: AddressOptions): Promise<Finding> {
  const { ok, failure } = checkOf("address.resource_metadata");
  const url = resourceMetadataUrl(`${baseUrl}/mcp`);
  const asked = await ask(url, { timeoutMs });
  const resource =
    "answer" in asked && asked.answer.status === 200
      ? parseJsonObject(asked.answer.text)?.resource
      : undefined;
  if (resource === `${baseUrl}/mcp`) return ok("Clients find the MCP endpoint's metadata");
  const what = "none" in asked ? asked.none.says : describeOther(asked.answer);
  return failure(
    `Clients cannot find the MCP endpoint's metadata at ${url}: ${what}`,
    "Let the reverse proxy pass /.well-known/oauth-protected-resource and everything under it to the server.",
  );
}

/** A made-up token: the challenge shows whether the header arrived, and a proxy may drop the challenge itself. */
async function checkBearer({ baseUrl, timeoutMs }: AddressOptions): Promise<Finding> {
  const { ok, failure, unknown } = checkOf("address.bearer");
  const asked = await ask(`${baseUrl}/mcp`, {
    method: "POST",
    headers: { authorization: "Bearer made-up-by-the-doctor", "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }),
    timeoutMs,
  });
  if ("none" in asked) return unknown(`Could not ask the MCP endpoint: ${asked.none.says}`, asked.none.fix);
  const { status, headers } = asked.answer;
  const challenge = headers.get("www-authenticate") ?? "";
  if (status === 503)
    return failure(
      "The MCP endpoint answers that it is unavailable (HTTP 503)",
      "See what is said about Redis; the server's own log names the reason.",
    );
  if (status !== 401)
    return failure(
      `The MCP endpoint answers a wrong token with HTTP ${status}, where this server says 401`,
      `Let the reverse proxy pass POST ${new URL(baseUrl).pathname.replace(/\/$/, "")}/mcp to the server, without a login or cache of its own.`,
    );
  if (challenge === "")
    return failure(
      "The header WWW-Authenticate does not come back from the MCP endpoint: clients do not learn where to sign in",
      "Let the reverse proxy pass on WWW-Authenticate and the server's own 401.",
    );
  if (challenge.includes("invalid_token"))
    return ok("Tokens reach the MCP endpoint, and its challenge comes back");
  return failure(
    "The header Authorization does not reach the MCP endpoint: every token would be lost on the way",
    "Let the reverse proxy pass on the Authorization header (nginx does; Apache's CGI needs CGIPassAuth On), and use no login of its own there.",
  );
}
