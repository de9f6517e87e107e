/** What this server offers. Adding a tool is a file beside this one and a line below. */
import type { Tool } from "../mcp/authoring/define-tool.ts";
import { currentWeather } from "./current-weather.ts";
import { createOpenMeteo } from "./open-meteo.ts";
import { sayHello } from "./say-hello.ts";
import { weatherConditions } from "./weather-conditions.ts";
import { whatToWear } from "./what-to-wear.ts";
import { whoami } from "./whoami.ts";

/** What the scopes mean to a person; shown when the user is asked for consent. */
export const scopes = {
  "weather:read": "Read the current weather",
};

export const tools: Tool[] = [whoami, sayHello, currentWeather(createOpenMeteo())];

export const resources = [weatherConditions];

export const prompts = [whatToWear];
