/** glewlwyd, an OpenID provider in C that shares no code with anything here: its own process, configured unattended. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Browser, Page } from "../../dev/client/browser.ts";
import { freePort } from "./free-port.ts";

const PROGRAM = "/usr/bin/glewlwyd";
const DATABASE_SCRIPT = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
const PLUGIN = "oidc";

// Its standard input closes with this process, so not even a crash leaves the provider behind.
const KEEPER = '"$0" -c "$1" & read -r _; kill $!; wait';

/** Set when it is not there; in CI that is a failure. */
export function skipWithoutGlewlwyd(): string | false {
  if (existsSync(PROGRAM) && existsSync(DATABASE_SCRIPT)) return false;
  const reason = "glewlwyd is not installed: apt-get install --no-install-recommends glewlwyd sqlite3";
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

export interface GlewlwydUser {
  username: string;
  password: string;
  name: string;
  email: string;
  scopes: readonly string[];
}

export interface GlewlwydOptions {
  users: readonly GlewlwydUser[];
  /** Beside openid, profile and email. */
  scopes: readonly string[];
  /** `always`: a refresh token can be used once, and using it again ends its chain. */
  refreshTokenOneUse: "always" | "never";
  accessTokenSeconds: number;
}

export interface Glewlwyd {
  issuer: string;
  /** What an administrator does in its pages. */
  addClient(client: {
    id: string;
    secret: string;
    redirectUri: string;
    backchannelLogoutUri: string;
  }): Promise<void>;
  changeUser(username: string, change: Partial<GlewlwydUser>): Promise<void>;
  /** Tells what it has logged. */
  log(): string;
  close(): Promise<void>;
}

export async function startGlewlwyd(options: GlewlwydOptions): Promise<Glewlwyd> {
  const directory = await mkdtemp(join(tmpdir(), "glewlwyd-"));
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const issuer = `${origin}/api/${PLUGIN}`;
  const database = join(directory, "glewlwyd.db");
  await createDatabase(database);
  const configuration = join(directory, "glewlwyd.conf");
  await writeFile(configuration, configurationFile(port, database));
  const child = spawn("sh", ["-c", KEEPER, PROGRAM, configuration], { stdio: "pipe" });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log += String(data)));
  const close = async () => {
    await stop(child);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await untilListening(origin, child, () => log);
    const administrator = await signInAdministrator(origin);
    await administrator("POST", "/mod/plugin/", pluginOf(issuer, options));
    for (const name of ["profile", "email", ...options.scopes])
      await administrator("POST", "/scope/", {
        name,
        display_name: name,
        password_required: false,
        scheme: {},
      });
    for (const user of options.users) await administrator("POST", "/user/", userRecord(user));
    return {
      issuer,
      addClient: (client) => administrator("POST", "/client/", clientRecord(client)),
      async changeUser(username, change) {
        const user = options.users.find((each) => each.username === username);
        if (user === undefined) throw new Error(`${username} is unknown`);
        await administrator("PUT", `/user/${username}`, userRecord({ ...user, ...change }));
      },
      log: () => log,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function createDatabase(path: string): Promise<void> {
  const sqlite = execFile("sqlite3", [path]);
  sqlite.stdin?.end(await readFile(DATABASE_SCRIPT));
  const [code] = await once(sqlite, "exit");
  if (code !== 0) throw new Error(`sqlite3 ended with ${code}`);
}

function configurationFile(port: number, database: string): string {
  return `
port=${port}
bind_address="127.0.0.1"
external_url="http://localhost:${port}"
login_url="login.html"
api_prefix="api"
static_files_path="/usr/share/glewlwyd/webapp/"
log_mode="console"
log_level="INFO"
cookie_domain="localhost"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
user_middleware_module_path="/usr/lib/glewlwyd/user_middleware"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3" path = "${database}" };
static_files_mime_types = ( { extension = ".html" mime_type = "text/html" compress = 0 } )
`;
}

async function untilListening(origin: string, child: ChildProcess, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) break;
    const answers = await fetch(`${origin}/config`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (answers) return;
    await delay(50);
  }
  throw new Error(`glewlwyd did not start: ${log()}`);
}

async function stop(keeper: ChildProcess): Promise<void> {
  if (keeper.exitCode !== null || keeper.signalCode !== null) return;
  const exited = once(keeper, "exit");
  keeper.stdin?.end();
  await exited;
}

type Administrator = (method: string, path: string, body: object) => Promise<void>;

/** The package's database script makes this administrator. */
async function signInAdministrator(origin: string): Promise<Administrator> {
  const response = await fetch(`${origin}/api/auth/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: "admin", password: "password" }),
  });
  const cookie = response.headers
    .getSetCookie()
    .map((line) => line.split(";")[0])
    .join("; ");
  return async (method, path, body) => {
    const answer = await fetch(`${origin}/api${path}`, {
      method,
      headers: { "content-type": "application/json", cookie },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  };
}

function pluginOf(issuer: string, options: GlewlwydOptions) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: "jwk" }), kid: "key-1", alg: "RS256" };
  return {
    module: "oidc",
    name: PLUGIN,
    display_name: "OpenID Connect",
    parameters: {
      iss: issuer,
      "jwks-private": JSON.stringify({ keys: [key] }),
      "jwks-show": true,
      "jwt-type": "rsa",
      "jwt-key-size": "256",
      "access-token-duration": options.accessTokenSeconds,
      "refresh-token-duration": 1_209_600,
      "code-duration": 60,
      "refresh-token-rolling": true,
      "refresh-token-one-use": options.refreshTokenOneUse,
      "auth-type-code-enabled": true,
      "auth-type-code-revoke-replayed": true,
      "auth-type-refresh-enabled": true,
      "allowed-scope": ["openid", "profile", "email", ...options.scopes],
      "name-claim": "on-demand",
      "name-claim-scope": ["profile"],
      "email-claim": "on-demand",
      "email-claim-scope": ["email"],
      "pkce-allowed": true,
      "pkce-required": true,
      "subject-type": "public",
      "introspection-revocation-allowed": true,
      "introspection-revocation-allow-target-client": true,
      "session-management-allowed": true,
      "session-cookie-name": "GLEWLWYD2_OIDC_SID",
      "session-cookie-expiration": 2_419_200,
      "back-channel-logout-allowed": true,
      "front-channel-logout-allowed": false,
      "oauth-as-iss-id": true,
    },
  };
}

function userRecord({ username, password, name, email, scopes }: GlewlwydUser) {
  return {
    username,
    password,
    name,
    email,
    enabled: true,
    scope: ["openid", "profile", "email", "g_profile", ...scopes],
  };
}

function clientRecord(client: Parameters<Glewlwyd["addClient"]>[0]) {
  return {
    client_id: client.id,
    name: "MCP server",
    confidential: true,
    enabled: true,
    client_secret: client.secret,
    redirect_uri: [client.redirectUri],
    authorization_type: ["code", "refresh_token", "client_credentials"],
    token_endpoint_auth_method: ["client_secret_post"],
    backchannel_logout_uri: client.backchannelLogoutUri,
    backchannel_logout_session_required: "1",
    scope: [],
  };
}

/** Somebody at a browser of their own; does by HTTP what the script of glewlwyd's login page does. */
export function glewlwydPerson({ issuer }: Pick<Glewlwyd, "issuer">, user: GlewlwydUser) {
  const cookies = new Map<string, string>();
  const { origin } = new URL(issuer);

  async function send(method: string, url: string, body?: object): Promise<Response> {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, {
      method,
      redirect: "manual",
      headers: { cookie, ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      cookies.set(name, value);
    }
    return response;
  }

  async function must(method: string, url: string, body?: object): Promise<Response> {
    const response = await send(method, url, body);
    if (response.status < 400) return response;
    throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  }

  return {
    /** From the login page that the browser was sent to, back to the server whose client it is. */
    async signIn(browser: Browser, page: Page): Promise<Page> {
      const asked = page.url.searchParams;
      const { username, password } = user;
      await must("POST", `${origin}/api/auth/`, { username, password });
      // Of what was asked for, the page offers what this user may have.
      const mine = ["openid", "profile", "email", ...user.scopes];
      const scopes = (asked.get("scope") ?? "").split(" ").filter((scope) => mine.includes(scope));
      const grant = `${origin}/api/auth/grant/${asked.get("client_id")}/`;
      await must("PUT", grant, { scope: scopes.join(" ") });
      const back = await must("GET", `${asked.get("callback_url")}&g_continue`);
      return browser.get(back.headers.get("location") ?? "");
    },
    /** Ends the login session of this browser, at all clients. */
    async signOut(): Promise<void> {
      await must("DELETE", `${issuer}/session/${cookies.get("GLEWLWYD2_OIDC_SID")}`);
    },
  };
}
