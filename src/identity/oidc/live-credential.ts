/** The credential that is in force now: read at the start, and again whenever it is used. */

import type { Log } from "../../runtime/log.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import type { CredentialSettings } from "../settings.ts";
import { type Credential, type CredentialText, parseCredential, readCredentialText } from "./credential.ts";

export interface LiveCredential {
  /** The newest one, and after it those that were there before: the provider may take any while they are replaced. */
  current(): Credentials;
}

export type Credentials = readonly [Credential, ...Credential[]];

// A secret that was read half written, or with a mistake, must not push out the one that the provider takes.
const KEPT_BEFORE = 2;

/**
 * The content is read at each use: these files are small, and a request to the provider follows. While a file is missing,
 * empty or half written, the last good content stays in force, which the log says once for each problem.
 * @throws InvalidValue if it cannot be read or is wrong now
 */
export function openCredential(settings: CredentialSettings, log: Log): LiveCredential {
  let text = readCredentialText(settings);
  let credentials: Credentials = [parseCredential(settings, text)];
  let problem: string | undefined;

  function look(): void {
    const found = readCredentialText(settings);
    if (isSame(found, text)) return;
    const next = parseCredential(settings, found);
    // An assertion is replaced because it ends.
    credentials = next.kind === "assertion" ? [next] : [next, ...credentials.slice(0, KEPT_BEFORE)];
    text = found;
    log.info({ credential: settings.kind }, "The credential for the identity provider changed");
  }

  function refused(error: unknown): void {
    if (!(error instanceof InvalidValue)) throw error;
    if (error.problem === problem) return;
    problem = error.problem;
    log.error(
      { reason: "client_credential_unreadable", credential: settings.kind, problem },
      "The credential for the identity provider stays as it was: its file cannot be used",
    );
  }

  return {
    current() {
      try {
        look();
        problem = undefined;
      } catch (error) {
        refused(error);
      }
      return credentials;
    },
  };
}

function isSame(one: CredentialText, other: CredentialText): boolean {
  return one.main === other.main && one.certificate === other.certificate;
}
