/** Which settings the demo and `npm run dev` use, and which they ignore. Pure, except for the check whether Open-Meteo is there. */

import type { Environment } from "../../src/config/settings.ts";
import { causes } from "../../src/oauth/errors.ts";
import { weatherSettings } from "../../src/tools/open-meteo.ts";

/** What the demo brings along. Somebody's settings for production must not lead it to their provider or their Redis. */
const OWN = /^(BASE_URL|HOST|STORE|SECRET_KEY|(OIDC|AUTH0|REDIS)_[A-Z_]+)$/;

export interface DemoSettings {
  /** Every other setting that is set, as it is. */
  given: Environment;
  /** In words, when something that was set is not used. */
  ignored?: string;
}

/** @param kept where the records are, in words */
export function demoSettings(environment: Environment, kept: string): DemoSettings {
  const set = Object.entries(environment).filter(([, value]) => value?.trim());
  const ignored = set.map(([name]) => name).filter((name) => OWN.test(name));
  return {
    given: Object.fromEntries(set.filter(([name]) => !OWN.test(name))),
    ...(ignored.length > 0 && {
      ignored: `Not used: ${ignored.sort().join(", ")}. This is a trial, with an identity provider, keys and an address of its own; ${kept}.`,
    }),
  };
}

/** @throws Error that says what a port must be */
export function demoPort(environment: Environment): number {
  const port = Number(environment.PORT || 3000);
  if (!Number.isInteger(port) || port < 1 || port > 65_534)
    throw new Error("PORT must be a number from 1 to 65534: the identity provider takes the next one.");
  return port;
}

/** @throws Error that says what `--providers` may be */
export function demoProviders(said: string | undefined, environment: Environment): 1 | 2 {
  if (said === undefined || said === "1") return 1;
  if (said !== "2") throw new Error("--providers must be 1 or 2: how many identity providers the demo has.");
  expectNoFile(environment, "--providers 2");
  return 2;
}

/**
 * @param option that describes in a file what it adds
 * @throws Error if there is a file already
 */
export function expectNoFile({ CONFIG_FILE }: Environment, option: string): void {
  const [name] = option.split(" ");
  if (CONFIG_FILE?.trim())
    throw new Error(`${option} writes a CONFIG_FILE of its own: leave yours out, or ${name}.`);
}

const PATIENCE_MS = 5_000;

/**
 * Whether the weather shall be the real one: `WEATHER=real`, or a service that was named in its settings.
 * @throws Error that says what WEATHER may be
 */
export function wantsRealWeather({ WEATHER, ...environment }: Environment): boolean {
  if (WEATHER && WEATHER !== "real" && WEATHER !== "made-up")
    throw new Error("WEATHER must be real or made-up. Left out, the weather is made up.");
  if (WEATHER) return WEATHER === "real";
  return Boolean(environment.OPEN_METEO_GEOCODING_URL || environment.OPEN_METEO_FORECAST_URL);
}

/** Why the weather service cannot be used from here, or undefined. */
export async function weatherProblem(environment: Environment): Promise<string | undefined> {
  try {
    const url = new URL(weatherSettings(environment).geocodingUrl);
    url.searchParams.set("name", "Berlin");
    url.searchParams.set("count", "1");
    const { ok, status } = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
    return ok ? undefined : `${url.host} answers HTTP ${status}`;
  } catch (error) {
    return causes(error);
  }
}
