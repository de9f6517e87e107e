/** weather://conditions: a resource with a scope; every word that current_weather uses. */
import { defineResource } from "../mcp/authoring/define-resource.ts";
import { conditionWords } from "./open-meteo.ts";

export const weatherConditions = defineResource({
  uri: "weather://conditions",
  name: "weather_conditions",
  title: "Weather conditions",
  description: "Every word that current_weather uses for the conditions",
  mimeType: "application/json",
  scopes: ["weather:read"],
  read: () => JSON.stringify(conditionWords),
});
