/** Reading the environment: one setting at a time, with every problem kept for one message. */
import { z } from "zod";
import { isScopeToken } from "../oauth/scope.ts";
import { InvalidValue, type SettingProblem } from "../runtime/setting-problem.ts";
import {
  CONFIG_FILE,
  type ConfigFile,
  type DescribedProvider,
  type FileSetting,
  readConfigFile,
} from "./config-file.ts";
import { issuerProblem, originProblem } from "./origin-problem.ts";

/** Settings by their names, such as `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

// Plain segments only: what proxies decode, normalize or join differently could name another place for each of them.
const BASE_PATH = /^(\/|(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+)$/;

/** Text for people; and SECRET_KEY, because a key that has encrypted with its quotation marks decrypts nothing without them. */
export const MAY_BE_QUOTED: readonly string[] = ["SERVER_NAME", "SERVER_DESCRIPTION", "SECRET_KEY"];

/** Reads settings one by one and collects every problem, so that a person can fix all of them together. */
export class Settings {
  readonly problems: SettingProblem[];
  /** What CONFIG_FILE says. */
  readonly file: ConfigFile | undefined;
  /** The identity provider whose settings these are, if the file describes one. */
  readonly described: DescribedProvider | undefined;
  readonly #environment: Environment;
  readonly #read: { faulty: boolean };

  /** @param one of the identity providers that the file describes, as part of those settings */
  constructor(environment: Environment, one?: { of: Settings; described: DescribedProvider }) {
    this.#environment = environment;
    this.described = one?.described;
    if (one !== undefined) {
      this.problems = one.of.problems;
      this.file = one.of.file;
      this.#read = one.of.#read;
      return;
    }
    this.problems = [];
    this.#read = { faulty: false };
    const path = this.#fromEnvironment(CONFIG_FILE);
    this.file = path === undefined ? undefined : readConfigFile(path, environment);
    this.problems.push(...(this.file?.problems ?? []));
  }

  /** The same, where those of an identity provider are what the file says of this one. */
  ofProvider(described: DescribedProvider): Settings {
    return new Settings(this.#environment, { of: this, described });
  }

  #inFile(name: string): FileSetting | undefined {
    return this.described?.settings.get(name) ?? this.file?.settings.get(name);
  }

  /** See {@link SettingProblem}; named as it is called where it is written. */
  problem(name: string, problem: string, remedy: string): void {
    const inFile = this.#inFile(name);
    if (inFile === undefined) this.problems.push({ setting: name, problem, remedy });
    else if (!inFile.isFaulty)
      this.problems.push({ place: inFile.place, setting: inFile.key, problem, remedy });
  }

  /** Whether a value that was read is not what it should be, although that is among the problems of the file alone. */
  get hasReadFaulty(): boolean {
    return this.#read.faulty;
  }

  /** Some settings are read more than once. */
  #problemOnce(found: SettingProblem): void {
    const isFound = ({ setting, problem }: SettingProblem) =>
      setting === found.setting && problem === found.problem;
    if (!this.problems.some(isFound)) this.problems.push(found);
  }

  /** The value that `parse` makes of a text; what it throws as InvalidValue is a problem. */
  parsed<T>(setting: string, text: string, parse: (text: string) => T): T | undefined {
    return this.attempt(setting, () => parse(text));
  }

  /** The same for what has to be read first. */
  attempt<T>(setting: string, make: () => T): T | undefined {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      this.problem(setting, error.problem, error.remedy);
      return undefined;
    }
  }

  /** What the file says, or the environment; both is a problem. */
  optional(name: string): string | undefined {
    const inFile = this.#inFile(name);
    if (inFile === undefined) return this.#fromEnvironment(name);
    const { value, isFaulty } = inFile;
    this.#read.faulty ||= isFaulty;
    const isInBoth = this.#environment[name]?.trim() && !(isFaulty && value === undefined);
    if (isInBoth) this.#problemOnce(this.#inBoth(name, inFile));
    return value;
  }

  /** With several identity providers, what the environment says of one is told once. */
  #inBoth(name: string, { place, key, value }: FileSetting): SettingProblem {
    const remedy = "say all of it in one of the two places";
    const { providers = [], path } = this.file ?? {};
    if (providers.length > 1 && providers.every(({ settings }) => settings.has(name)))
      return {
        setting: name,
        problem: `is set in the environment, and ${path} describes ${providers.length} identity providers`,
        remedy,
      };
    if (value !== undefined)
      return {
        place,
        setting: key,
        problem: `is set in the environment, too, as ${name}`,
        remedy: "keep one of the two",
      };
    return {
      setting: name,
      problem: `is set in the environment, and ${this.described?.key} in ${place} describes the identity provider`,
      remedy,
    };
  }

  /** An empty value counts as not set: that is how .env files and compose files leave a setting out. */
  #fromEnvironment(name: string): string | undefined {
    const value = this.#environment[name]?.trim() || undefined;
    if (value === undefined || MAY_BE_QUOTED.includes(name)) return value;
    const inside = /^(["'])(.*)\1$/s.exec(value)?.[2];
    if (inside === undefined) return value;
    this.#problemOnce({
      setting: name,
      problem: "begins and ends with a quotation mark",
      remedy: "remove both (docker run --env-file, unlike .env, keeps them)",
    });
    return inside || undefined;
  }

  text(name: string, fallback: string): string {
    return this.optional(name) ?? fallback;
  }

  /** @param remedy how to come by it: "set it to …" */
  required(name: string, remedy: string): string {
    const value = this.optional(name);
    if (value === undefined) this.problem(name, "is missing", remedy);
    return value ?? "";
  }

  /** What is compared byte for byte elsewhere: a URL, an id or a secret. */
  requiredLine(name: string, remedy: string): string {
    const value = this.required(name, remedy);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
    if (/[\u0000-\u001f\u007f]/.test(value))
      this.problem(name, "has a line break or another control character in it", "write it on one line");
    return value;
  }

  integer(name: string, fallback: number, least: number, most: number): number {
    const value = this.optional(name);
    if (value === undefined) return fallback;
    const parsed = z
      .string()
      .regex(/^\d+$/)
      .transform(Number)
      .pipe(z.number().min(least).max(most))
      .safeParse(value);
    if (!parsed.success)
      this.problem(
        name,
        `must be a whole number from ${least} to ${most}`,
        `write digits alone, such as ${fallback}`,
      );
    return parsed.data ?? fallback;
  }

  /** The first choice is the default. */
  oneOf<Choice extends string>(name: string, choices: readonly [Choice, ...Choice[]]): Choice {
    const value = this.text(name, choices[0]);
    const choice = choices.find((each) => each === value);
    if (choice === undefined)
      this.problem(name, `must be one of ${choices.join(", ")}`, "write one of them, or leave it out");
    return choice ?? choices[0];
  }

  scopes(name: string): string[] | undefined {
    const scopes = this.optional(name)?.split(/\s+/);
    if (scopes === undefined) return undefined;
    if (!scopes.every(isScopeToken))
      this.problem(
        name,
        "has a scope with illegal characters (RFC 6749 §3.3)",
        "separate scopes by spaces, and write them without quotation marks",
      );
    if (!scopes.includes("openid"))
      this.problem(name, "must contain openid, without which there is no ID token", "add openid to it");
    return scopes;
  }

  list(
    name: string,
    isValid: (entry: string) => boolean,
    form: string,
    remedy = "write each entry so, or leave it out",
  ): string[] {
    const entries = (this.optional(name) ?? "").split(",").map((entry) => entry.trim());
    const present = entries.filter((entry) => entry !== "");
    if (!present.every(isValid)) this.problem(name, `must be a comma-separated list of ${form}`, remedy);
    return present;
  }

  url(name: string, fallback: string): string {
    const value = this.text(name, fallback);
    if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
      this.problem(name, "must be an http(s) URL", "write it in full, beginning with https:// or http://");
    return value;
  }

  /** Our own public URL, without a trailing slash: the issuer must be the same byte for byte everywhere. */
  publicUrl(name: string, remedy: string): string {
    const value = this.requiredLine(name, remedy).replace(/(?<!\/)\/+$/, "");
    if (value === "") return value;
    const problem = originProblem(value);
    if (problem !== undefined) this.problem(name, ...problem);
    else if (value.endsWith("/mcp"))
      this.problem(name, "must not end with /mcp", "remove that: it is added to it");
    else if (!BASE_PATH.test(new URL(value).pathname))
      this.problem(
        name,
        'has a path with other characters than letters, digits, ".", "_", "~", "-" and "/"',
        "choose another path",
      );
    return problem === undefined ? new URL(value).href.replace(/(?<!\/)\/+$/, "") : value;
  }

  /** The provider's issuer: kept exactly as written, because it must equal what discovery says. */
  issuer(name: string, remedy: string): string {
    const value = this.requiredLine(name, remedy);
    if (value === "") return value;
    const problem = issuerProblem(value);
    if (problem !== undefined) this.problem(name, ...problem);
    return value;
  }
}

/** True for the user name or password of a URL that can be decoded. */
export function isPercentEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
