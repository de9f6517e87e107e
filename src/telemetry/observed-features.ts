/** Decorates tools, resources and prompts with metrics of their duration. */
import type { Features } from "../mcp/authoring/features.ts";
import type { Observe } from "./operation.ts";

export function observedFeatures<Declared extends Features>(declared: Declared, observe: Observe): Declared {
  const { tools, resources = [], prompts = [] } = declared;
  return {
    ...declared,
    tools: tools.map((tool) => ({
      ...tool,
      call: (args, call) => observe({ of: "tool", name: tool.name }, () => tool.call(args, call)),
    })),
    resources: resources.map((resource) => ({
      ...resource,
      reader(uri) {
        const read = resource.reader(uri);
        return read && ((call) => observe({ of: "resource", name: resource.name }, () => read(call)));
      },
    })),
    prompts: prompts.map((prompt) => ({
      ...prompt,
      get: (args, call) => observe({ of: "prompt", name: prompt.name }, () => prompt.get(args, call)),
    })),
  } satisfies Features;
}
