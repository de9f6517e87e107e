/**
 * What `node:test` needs of async hooks, for less: loaded before it, in every process of `npm test`.
 *
 * Its runner knows to which test a piece of work belongs by a hook that sees every promise made and every one collected,
 * of the server under test too. Watching them being collected takes a tenth of all processor time of `npm test`. So here the
 * test is kept in the resource itself, as AsyncLocalStorage does it, and the runner is told of tests only. If a later Node asks for
 * nothing of this, nothing of this happens.
 */
const hooks = require("node:async_hooks");

const { createHook, executionAsyncId, executionAsyncResource } = hooks;
const TEST = Symbol("id of the test");

// The runner takes both from the module when it is loaded.
Object.assign(hooks, { createHook: createHookOfRunner, executionAsyncId: idOfTest });

function createHookOfRunner(callbacks) {
  if (!/node:internal\/test_runner\/harness/.test(new Error().stack)) return createHook(callbacks);
  Object.assign(hooks, { createHook, executionAsyncId });
  return createHook({
    init(id, type, triggerId, resource) {
      if (type === "Test") callbacks.init(id, type, triggerId, resource);
      const test = type === "Test" ? id : executionAsyncResource()[TEST];
      if (test !== undefined) resource[TEST] = test;
    },
  });
}

function idOfTest() {
  return executionAsyncResource()[TEST] ?? executionAsyncId();
}
