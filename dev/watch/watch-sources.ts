/** Watches source files for changes: folder by folder, because editors replace files instead of writing them. */
import { type FSWatcher, readdirSync, watch } from "node:fs";
import { join } from "node:path";

const SETTLED_MS = 80;

export interface SourceEvents {
  /** At the first sign of a change. */
  changing(): void;
  /** When nothing has changed for a moment. */
  changed(): void;
}

/** Folders of packages and hidden ones are left alone. */
export function watchSources(root: string, events: SourceEvents): { close(): void } {
  const watchers = new Map<string, FSWatcher>();
  let timer: NodeJS.Timeout | undefined;

  function noticed(file: string | null): void {
    // Temporary files of editors are ignored.
    if (file !== null && !/^[^.].*\.(m?[jt]s|json)$|^[^.]+$/.test(file)) return;
    events.changing();
    clearTimeout(timer);
    timer = setTimeout(() => {
      lookForFolders(root);
      events.changed();
    }, SETTLED_MS);
  }

  function lookForFolders(folder: string): void {
    if (!watchers.has(folder)) {
      const watcher = watch(folder, (_event, file) => noticed(file));
      watcher.on("error", () => forget(folder)); // it was removed
      watchers.set(folder, watcher);
    }
    try {
      for (const entry of readdirSync(folder, { withFileTypes: true }))
        if (entry.isDirectory() && isWatched(entry.name)) lookForFolders(join(folder, entry.name));
    } catch {
      forget(folder);
    }
  }

  function isWatched(name: string): boolean {
    return !(name.startsWith(".") || name === "node_modules");
  }

  function forget(folder: string): void {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  }

  lookForFolders(root);
  return {
    close() {
      clearTimeout(timer);
      for (const folder of [...watchers.keys()]) forget(folder);
    },
  };
}
