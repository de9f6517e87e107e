/** The environment of a command: process.env, completed by a file .env. */
import { existsSync } from "node:fs";
import type { Environment } from "./settings.ts";

/** What is in process.env because a file says it. */
const fromFile = new Set<string>();

/**
 * What is in the environment already wins over the file.
 * @throws Error if the file is there and cannot be read
 */
export function readEnvironment(): Environment {
  const given = new Set(Object.keys(process.env));
  if (existsSync(".env"))
    try {
      process.loadEnvFile(".env");
    } catch {
      throw new Error("the file .env is there but cannot be read.");
    }
  for (const name of Object.keys(process.env)) if (!given.has(name)) fromFile.add(name);
  return process.env;
}

/** Processes that are started from here on read the file themselves: it may say something else by then. */
export function forgetFile(): void {
  for (const name of fromFile) delete process.env[name];
}

/** What `--tools FILE` means for whichever command it is given to: the same as TOOLS_MODULE, before which it comes. */
export function withTools(environment: Environment, file: string | undefined): Environment {
  return withOptions(environment, { tools: file });
}

/** Options of commands, each with the setting that it is, and before which it comes. */
const SETTING_OF = { tools: "TOOLS_MODULE", server: "BACKEND_URL", config: "CONFIG_FILE" } as const;
export type SettingOptions = Partial<Record<keyof typeof SETTING_OF, string | undefined>>;

export function withOptions(environment: Environment, options: SettingOptions): Environment {
  const given = Object.entries(SETTING_OF).flatMap(([option, setting]) => {
    const value = options[option as keyof typeof SETTING_OF];
    return value === undefined ? [] : [[setting, value]];
  });
  return given.length === 0 ? environment : { ...environment, ...Object.fromEntries(given) };
}

/** Where programs are, for those that this server starts: they get nothing else of its environment. */
export function searchPath(): string {
  return process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin";
}
