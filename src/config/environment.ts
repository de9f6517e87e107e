/** The environment of a command: process.env, completed by a file .env. */
import { existsSync } from "node:fs";
import type { Environment } from "./settings.ts";

/**
 * What is in the environment already wins over the file.
 * @throws Error if the file is there and cannot be read
 */
export function readEnvironment(): Environment {
  if (existsSync(".env"))
    try {
      process.loadEnvFile(".env");
    } catch {
      throw new Error("the file .env is there but cannot be read.");
    }
  return process.env;
}

/** What `--tools FILE` means for whichever command it is given to: the same as TOOLS_MODULE, before which it comes. */
export function withTools(environment: Environment, file: string | undefined): Environment {
  return file === undefined ? environment : { ...environment, TOOLS_MODULE: file };
}
