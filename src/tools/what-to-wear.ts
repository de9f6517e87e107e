/** what_to_wear: a prompt with a scope and an argument, for people to pick in their client. */
import { z } from "zod";
import { definePrompt } from "../mcp/authoring/define-prompt.ts";

export const whatToWear = definePrompt({
  name: "what_to_wear",
  title: "What to wear",
  description: "What to wear in a city today, by its current weather",
  scopes: ["weather:read"],
  args: z.object({ city: z.string().min(1).max(100).describe("Such as Berlin") }),
  run: ({ city }) =>
    `Look up the current weather in ${city} with current_weather, and tell me in two sentences what to wear there today.`,
});
