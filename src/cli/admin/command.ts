/** What all commands share: how they end, what they are given, and that nothing is destroyed without a yes. */
import type { AuditStream } from "../../audit/audit.ts";
import type { Config } from "../../config/config.ts";
import type { Environment } from "../../config/settings.ts";
import { counted } from "../../runtime/counted.ts";
import { type Deployment, withDeployment } from "./deployment.ts";
import type { Terminal } from "./terminal.ts";

export const EXIT = { done: 0, problem: 1, nothing: 2 } as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

/** The command line is wrong, although its parts are right. */
export class UsageError extends Error {}

export interface OutputOptions {
  json?: true;
}

export interface DestroyOptions extends OutputOptions {
  yes?: true;
  dryRun?: true;
}

/** A command's work: with the deployment, its options and arguments, and the terminal. */
export type Work = (deployment: Deployment, terminal: Terminal) => Promise<Exit>;

export interface Context {
  terminal: Terminal;
  /** For the audit log, where that has no place of its own. */
  stderr: AuditStream;
  environment(): Environment;
  /** @param tools what `--tools` names */
  loadConfig(tools?: string): Config;
  /** How the process ends. */
  finish(exit: Exit): void;
}

export async function run({ loadConfig, terminal, stderr, finish }: Context, work: Work): Promise<void> {
  finish(
    await withDeployment(
      loadConfig(),
      async (deployment) => {
        const exit = await work(deployment, terminal);
        const unreadable = deployment.grants.unreadable + deployment.clients.unreadable;
        if (unreadable === 0) return exit;
        terminal.say(
          `${counted(unreadable, "record")} cannot be read: written under another SECRET_KEY, or by another version. Left alone.`,
        );
        // It may be among those.
        return exit === EXIT.nothing ? EXIT.problem : exit;
      },
      stderr,
    ),
  );
}

/**
 * Whether to go on: shown is what will end.
 * @throws UsageError where nobody can be asked
 */
export async function mayDestroy(
  what: string,
  { yes, dryRun }: DestroyOptions,
  { say, confirm }: Terminal,
): Promise<boolean> {
  if (dryRun) {
    say(`Nothing was done: --dry-run. It would end ${what}.`);
    return false;
  }
  if (yes) return true;
  if (confirm === undefined)
    throw new UsageError(`This ends ${what}. There is no terminal to ask on: say --yes if that is meant.`);
  if (await confirm(`End ${what}? [y/N] `)) return true;
  say("Nothing was done.");
  return false;
}

/** Several at a time: each waits for the store and for the identity provider. */
export async function inParallel<T>(
  items: AsyncIterable<T> | Iterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const worker = async () => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const AT_ONCE = 16;
