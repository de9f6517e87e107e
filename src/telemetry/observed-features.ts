/** Decorates tools, resources and prompts with metrics of their duration. */
import type { Features } from "../mcp/authoring/features.ts";
import type { Observe } from "./operation.ts";

/** @param protectedResource that they are of, by its path */
export function observedFeatures<Declared extends Features>(
  declared: Declared,
  protectedResource: string,
  observe: Observe,
): Declared {
  const { tools, resources = [], prompts = [] } = declared;
  return {
    ...declared,
    tools: tools.map((tool) => ({
      ...tool,
      call: (args, call) =>
        observe({ of: "tool", name: tool.name, protectedResource }, () => tool.call(args, call)),
    })),
    resources: resources.map((resource) => ({
      ...resource,
      reader(uri) {
        const read = resource.reader(uri);
        return (
          read &&
          ((call) => observe({ of: "resource", name: resource.name, protectedResource }, () => read(call)))
        );
      },
    })),
    prompts: prompts.map((prompt) => ({
      ...prompt,
      get: (args, call) =>
        observe({ of: "prompt", name: prompt.name, protectedResource }, () => prompt.get(args, call)),
    })),
  } satisfies Features;
}
