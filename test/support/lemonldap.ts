/** LemonLDAP::NG, an OpenID provider in Perl: its portal as a process of its own, configured by a file. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Browser, Page } from "../../dev/client/browser.ts";
import { findForms, hasField } from "../../dev/client/html.ts";
import { freePort } from "./free-port.ts";

const PORTAL = "/usr/share/lemonldap-ng/portal/htdocs/index.psgi";
const SHIPPED_CONFIGURATION = "/var/lib/lemonldap-ng/conf/lmConf-1.json";
// What Debian lists as recommended, and the portal does not start without.
const NEEDED = [PORTAL, "/usr/share/perl5/GD/SecurityImage.pm", "/usr/share/perl5/String/Random.pm"];

/** Set when it is not there; in CI that is a failure. */
export function skipWithoutLemonldap(): string | false {
  if (NEEDED.every(existsSync)) return false;
  const reason =
    "LemonLDAP::NG is not installed: apt-get install --no-install-recommends liblemonldap-ng-portal-perl libgd-securityimage-perl libimage-magick-perl libstring-random-perl libio-string-perl";
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

/** Of the people who come with it, this one is a time lord. The password is the name. */
export const DOCTOR_WHO = "dwho";
export const ROSE_TYLER = "rtyler";

export interface Lemonldap {
  issuer: string;
  /** What an administrator does in the manager; `scopes` says by a rule who may have one. */
  start(client: {
    id: string;
    secret: string;
    redirectUri: string;
    scopes: Record<string, string>;
  }): Promise<void>;
  log(): string;
  close(): Promise<void>;
}

// Its standard input closes with this process, so not even a crash leaves the provider behind.
const KEEPER = 'plackup --host 127.0.0.1 --port "$1" "$0" & read -r _; kill $!; wait';

/** The address is known at once; it starts when its client is known. */
export async function prepareLemonldap(): Promise<Lemonldap> {
  const directory = await mkdtemp(join(tmpdir(), "lemonldap-"));
  const port = await freePort();
  const issuer = `http://localhost:${port}/`;
  let keeper: ChildProcess | undefined;
  let log = "";
  return {
    issuer,
    async start(client) {
      for (const name of ["conf", "sessions/lock", "psessions/lock", "cache"])
        await mkdir(join(directory, name), { recursive: true });
      const shipped = JSON.parse(await readFile(SHIPPED_CONFIGURATION, "utf8"));
      const configuration = { ...shipped, ...configurationOf(issuer, directory, client) };
      await writeFile(join(directory, "conf/lmConf-1.json"), JSON.stringify(configuration));
      const file = join(directory, "lemonldap-ng.ini");
      await writeFile(file, settingsFile(directory));
      keeper = spawn("sh", ["-c", KEEPER, PORTAL, String(port)], {
        stdio: "pipe",
        env: { PATH: process.env.PATH, LLNG_DEFAULTCONFFILE: file },
      });
      for (const stream of [keeper.stdout, keeper.stderr])
        stream?.on("data", (data) => {
          log += String(data);
        });
      await untilListening(`${issuer}.well-known/openid-configuration`, () => log);
    },
    log: () => log,
    async close() {
      if (keeper !== undefined && keeper.exitCode === null) {
        const exited = once(keeper, "exit");
        keeper.stdin?.end();
        await exited;
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function untilListening(url: string, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 400 && !log().includes("Initialization failed"); attempt++) {
    const answers = await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
    if (answers) return;
    await delay(50);
  }
  throw new Error(`LemonLDAP::NG did not start: ${log().slice(0, 3_000)}`);
}

function configurationOf(
  issuer: string,
  directory: string,
  { id, secret, redirectUri, scopes }: Parameters<Lemonldap["start"]>[0],
) {
  const keys = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const files = (name: string) => ({
    Directory: join(directory, name),
    LockDirectory: join(directory, name, "lock"),
  });
  return {
    portal: issuer,
    domain: "localhost",
    securedCookie: 0,
    loginHistoryEnabled: 0,
    notification: 0,
    passwordDB: "Null",
    portalDisplayResetPassword: 0,
    registerDB: "Null",
    portalDisplayRegister: 0,
    globalStorageOptions: {
      ...files("sessions"),
      generateModule: "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
    },
    persistentStorageOptions: files("psessions"),
    localSessionStorageOptions: { cache_root: join(directory, "cache"), cache_depth: 3 },
    locationRules: { localhost: { default: "accept" } },
    exportedHeaders: {},
    issuerDBOpenIDConnectActivation: 1,
    issuerDBOpenIDConnectPath: "^/oauth2/",
    oidcServiceMetaDataIssuer: issuer,
    oidcServiceAllowAuthorizationCodeFlow: 1,
    oidcServicePrivateKeySig: keys.privateKey,
    oidcServicePublicKeySig: keys.publicKey,
    oidcServiceKeyIdSig: "key-1",
    oidcRPMetaDataOptions: {
      mcp: {
        oidcRPMetaDataOptionsClientID: id,
        oidcRPMetaDataOptionsClientSecret: secret,
        oidcRPMetaDataOptionsRedirectUris: redirectUri,
        oidcRPMetaDataOptionsBypassConsent: 1,
        oidcRPMetaDataOptionsRequirePKCE: 1,
        oidcRPMetaDataOptionsIDTokenSignAlg: "RS256",
        oidcRPMetaDataOptionsAccessTokenSignAlg: "RS256",
        oidcRPMetaDataOptionsAccessTokenJWT: 1,
        oidcRPMetaDataOptionsAllowOffline: 1,
      },
    },
    oidcRPMetaDataExportedVars: { mcp: { name: "cn", email: "mail" } },
    oidcRPMetaDataScopeRules: { mcp: scopes },
  };
}

function settingsFile(directory: string): string {
  const cache = `{ 'namespace' => 'lemonldap-ng-config', 'default_expires_in' => 600, 'directory_umask' => '007', 'cache_root' => '${directory}/cache', 'cache_depth' => 3 }`;
  return `
[all]
logLevel = warn
checkTime = 1
[configuration]
type = File
dirName = ${directory}/conf
localStorage = Cache::FileCache
localStorageOptions = ${cache}
[portal]
staticPrefix = /static
templateDir = /usr/share/lemonldap-ng/portal/templates
languages = en
`;
}

/** Fills in its login form, which needs no script. */
export async function signInAtLemonldap(browser: Browser, loginPage: Page, user: string): Promise<Page> {
  const isLogin = findForms(loginPage.body).some((form) => hasField(form, "password"));
  if (!isLogin) throw new Error(`no login page at ${loginPage.url} (${loginPage.status})`);
  return browser.submit(loginPage, { user, password: user });
}
