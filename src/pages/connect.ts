/**
 * How each MCP client is connected to this server, and how programs come without a browser. The page for people, the answer
 * to curl, the demo and docs/clients.md are all generated from here.
 */

import { CLIENT_CREDENTIALS_GRANT, type Client, JWT_BEARER_GRANT } from "../oauth/client-metadata.ts";
import { isLoopbackHost } from "../oauth/redirect-uri.ts";
import { UNNAMED } from "./brand.ts";

/** What a client needs to know. */
export interface ConnectableServer {
  /** For people; any text. */
  name: string;
  /** The MCP endpoint. */
  url: string;
}

/** What a person does to connect one client. */
export interface ConnectGuide {
  client: string;
  /** Where the client has one: a link that opens it, with this server filled in. */
  link?: { words: string; href: string };
  /** In this order, and where there is a link, instead of it. */
  steps: ReadonlyArray<Sentence | Snippet>;
}

/** In a little Markdown: `code`, *a menu*, [a link](https://…). */
export type Sentence = string;

/** To be copied as it is. */
export interface Snippet {
  /** A terminal, a file, a field: where it belongs. */
  place: string;
  text: string;
}

/**
 * Every client, in the order in which people are shown them; those that connect from the internet come last where they
 * cannot reach the server. Tried against this server in November 2026: the lines of Claude Code, Codex, Gemini CLI,
 * opencode, mcporter, MCP Inspector and mcp-remote. As their makers document it: the links of Claude, Cursor and VS Code. By
 * what its users report: ChatGPT's menus.
 */
export function connectGuides(server: ConnectableServer): ConnectGuide[] {
  return isOnThisComputer(server.url)
    ? [...localGuides(server), NOT_FROM_THE_INTERNET]
    : withHosted(localGuides(server), [claude(server), chatGpt(server)]);
}

/** After the first, which is the most used. */
function withHosted([first, ...others]: ConnectGuide[], hosted: ConnectGuide[]): ConnectGuide[] {
  return first === undefined ? hosted : [first, ...hosted, ...others];
}

/** Of programs that run where their user is. */
function localGuides(server: ConnectableServer): ConnectGuide[] {
  const { url } = server;
  const name = nicknameOf(server);
  const word = shellWord(url);
  return [
    {
      client: "Claude Code",
      steps: [
        terminal(`claude mcp add --scope user --transport http ${name} ${word}`),
        terminal(`claude mcp login ${name}`),
        `Your browser opens for you to sign in. Inside Claude Code, \`/mcp\` does the same.`,
      ],
    },
    {
      client: "Codex",
      steps: [
        terminal(`codex mcp add ${name} --url ${word}`),
        `Your browser opens for you to sign in. To sign in again later: \`codex mcp login ${name}\`.`,
      ],
    },
    {
      client: "Cursor",
      link: {
        words: "Add to Cursor",
        href: `cursor://anysphere.cursor-deeplink/mcp/install?name=${name}&config=${base64(linkJson({ url }))}`,
      },
      steps: [json("~/.cursor/mcp.json", { mcpServers: { [name]: { url } } })],
    },
    {
      client: "VS Code",
      link: {
        words: "Add to VS Code",
        href: `vscode:mcp/install?${encodeURIComponent(linkJson({ name, type: "http", url }))}`,
      },
      steps: [json(".vscode/mcp.json", { servers: { [name]: { type: "http", url } } })],
    },
    {
      client: "Gemini CLI",
      steps: [
        terminal(`gemini mcp add --scope user --transport http ${name} ${word}`),
        `Then type \`/mcp auth ${name}\` in Gemini CLI; your browser opens for you to sign in.`,
      ],
    },
    {
      client: "opencode",
      steps: [
        terminal(`opencode mcp add ${name} --url ${word}`),
        terminal(`opencode mcp auth ${name}`),
        "Your browser opens for you to sign in.",
      ],
    },
    {
      client: "mcporter",
      steps: [
        terminal(`npx -y mcporter config add ${name} ${word} --scope home`),
        terminal(`npx -y mcporter auth ${name}`),
        "Your browser opens for you to sign in.",
      ],
    },
    {
      client: "MCP Inspector",
      steps: [
        terminal(`npx -y @modelcontextprotocol/inspector --transport http --server-url ${word}`),
        "In the browser window that opens, switch this server on. Needs Node.js 22.19 or newer.",
      ],
    },
    {
      client: "mcp-remote",
      steps: [
        "For an application that can only start local servers. Needs Node.js.",
        json("MCP settings of the application", {
          mcpServers: { [name]: { command: "npx", args: ["-y", "mcp-remote", url] } },
        }),
      ],
    },
    {
      client: "Any other",
      steps: [
        "Add a remote MCP server (transport *Streamable HTTP*) with this address, and nothing else: no token, no client id. The application finds out by itself where to sign in.",
        { place: "MCP server URL", text: url },
        "Fields for OAuth stay empty. An application that only knows servers as commands takes *mcp-remote*.",
      ],
    },
  ];
}

/** Of services that connect from their own computers. */
const NOT_FROM_THE_INTERNET: ConnectGuide = {
  client: "Claude, ChatGPT",
  steps: [
    "They connect from the internet and cannot reach this computer: *localhost* is another one for them. They need a server with a public https address. Claude Code, above, runs here.",
  ],
};

function claude({ name, url }: ConnectableServer): ConnectGuide {
  const client = "Claude";
  const filledIn = `connectorName=${encodeURIComponent(name)}&connectorUrl=${encodeURIComponent(url)}`;
  return {
    client,
    link: {
      words: "Add to Claude",
      href: `https://claude.ai/customize/connectors?modal=add-custom-connector&${filledIn}`,
    },
    steps: [
      "In Claude, on the web or on your computer: *Customize → Connectors → + → Add custom connector*, with this address.",
      { place: "Remote MCP server URL", text: url },
    ],
  };
}

function chatGpt({ url }: ConnectableServer): ConnectGuide {
  const client = "ChatGPT";
  return {
    client,
    steps: [
      "Switch on *Developer mode* in ChatGPT, on the web, under *Settings → Security and login*.",
      "Then, in [its plugins](https://chatgpt.com/plugins), *+ → Add custom MCP server*, with OAuth and this address.",
      { place: "MCP server URL", text: url },
    ],
  };
}

/** How a program comes here without a browser: by what its operator configured, and by whom it is vouched for. */
export type ProgramAccess = "client-secret" | "client-key" | "id-jag" | "workload" | "access-token";

/** The heading of their guides. */
export const WITHOUT_BROWSER = "Connect without a browser";

/** Those that a configuration permits. Not whom: which clients and issuers it names is nobody's business. */
export function programAccess({
  clients,
  issuers,
}: {
  clients: readonly Pick<Client, "grant_types" | "token_endpoint_auth_method">[];
  issuers: readonly { accept: Exclude<ProgramAccess, "client-secret" | "client-key"> }[];
}): ProgramAccess[] {
  const machines = clients.filter(({ grant_types }) => grant_types.includes(CLIENT_CREDENTIALS_GRANT));
  const found = new Set<ProgramAccess>([
    ...machines.map(({ token_endpoint_auth_method: method }) =>
      method === "private_key_jwt" ? "client-key" : "client-secret",
    ),
    ...issuers.map(({ accept }) => accept),
  ]);
  const inOrder: ProgramAccess[] = ["client-secret", "client-key", "id-jag", "workload", "access-token"];
  return inOrder.filter((access) => found.has(access));
}

/**
 * @param server.baseUrl the issuer of its tokens
 * @param permitted what is not permitted here is not told either
 */
export function programGuides(
  { url, baseUrl }: Pick<ConnectableServer, "url"> & { baseUrl: string },
  permitted: readonly ProgramAccess[],
): ConnectGuide[] {
  const request = `curl -s ${shellWord(`${baseUrl}/token`)}`;
  const asClient = '-u "$CLIENT_ID:$CLIENT_SECRET"';
  const asking = `-d grant_type=${CLIENT_CREDENTIALS_GRANT} -d ${shellWord(`resource=${url}`)}`;
  const presenting = `-d grant_type=${JWT_BEARER_GRANT} -d assertion="$ASSERTION"`;
  const audience = { place: "Audience", text: baseUrl };
  const resource = { place: "Resource", text: url };
  const guides: Record<ProgramAccess, ConnectGuide> = {
    "client-secret": {
      client: "A job or service with a secret",
      steps: [
        "The operator of this server gives you an id and a secret. Ask for an access token with them:",
        terminal(`${request} ${asClient} ${asking}`),
        USE_TOKEN,
      ],
    },
    "client-key": {
      client: "A job or service with a key",
      steps: [
        "The operator of this server gives you an id, and has your public key. Sign a JWT (`private_key_jwt`) with your id as `iss` and `sub`, and this address as `aud`; ask for an access token with it:",
        audience,
        terminal(
          `${request} -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer -d client_assertion="$ASSERTION" ${asking}`,
        ),
        USE_TOKEN,
      ],
    },
    "id-jag": {
      client: "An application of a company (ID-JAG)",
      steps: [
        "The company's identity provider signs that a person may use it here, if the operator of this server trusts that provider. What it signs is for this audience and this resource:",
        audience,
        resource,
        "The application presents that once, as the client that it is here:",
        terminal(`${request} ${asClient} ${presenting}`),
        USE_TOKEN,
      ],
    },
    workload: {
      client: "A program on a platform (workload identity)",
      steps: [
        "The platform signs which program it is, if the operator of this server trusts that platform and named the program. Unless they say another, this is the audience:",
        audience,
        "The program presents that once, without an id or a secret:",
        terminal(`${request} ${presenting}`),
        USE_TOKEN,
      ],
    },
    "access-token": {
      client: "A program with an access token of another issuer",
      steps: [
        "It is taken as it is, if the operator of this server trusts its issuer. Unless they say another, this is the audience:",
        { place: "Audience", text: url },
        USE_TOKEN,
      ],
    },
  };
  return permitted.map((access) => guides[access]);
}

const USE_TOKEN: Sentence =
  "Send the access token with every request to the MCP server URL, as `Authorization: Bearer`. When it ends, ask for another.";

function isOnThisComputer(url: string): boolean {
  return isLoopbackHost(new URL(url).hostname);
}

// Clients prefix every tool with it, as in mcp__weather__current_weather, and models take 64 characters of that.
const MAX_NICKNAME = 30;

/**
 * A name that every client and every shell takes as it is: lower-case letters, digits, single hyphens. Made of the
 * server's name, or where that gives nothing, or nothing of its own, of its host.
 */
export function nicknameOf({ name, url }: ConnectableServer): string {
  const { hostname } = new URL(url);
  const candidates = name === UNNAMED ? [hostname] : [name, hostname];
  return candidates.map(hyphenated).find((candidate) => candidate !== "") ?? "server";
}

function hyphenated(text: string): string {
  const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-/, "")
    .slice(0, MAX_NICKNAME)
    .replace(/-$/, "");
}

/** One word of a command line. Most URLs are one as they are, which Windows' shells understand too. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function terminal(text: string): Snippet {
  return { place: "Terminal", text };
}

function json(place: string, value: object): Snippet {
  return { place, text: JSON.stringify(value, undefined, 2) };
}

/**
 * JSON for a link. How often a client decodes its links is not known (VS Code does it twice), so whatever could mean
 * something in one, or become `+` or `/` in base64, is written as JSON's own escape.
 */
function linkJson(value: object): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x24\x26-\x3d\x40-\x7d]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function base64(ascii: string): string {
  return encodeURIComponent(Buffer.from(ascii).toString("base64"));
}
