// Prints the schemas that the specification publishes, by revision: the official suite brings them along, as literals.
import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = readFileSync(process.argv[2], "utf8");
const found = {};

// Where the literal that begins at an opening brace ends; braces within strings do not count.
function end(start) {
  let depth = 0;
  for (let at = start; at < source.length; at++) {
    const sign = source[at];
    if (sign === "`" || sign === '"' || sign === "'") {
      for (at++; source[at] !== sign; at++) if (source[at] === "\\") at++;
    } else if (sign === "{") depth++;
    else if (sign === "}" && --depth === 0) return at + 1;
  }
  return -1;
}

for (const match of source.matchAll(/\{\$schema:`[^`]*`,(definitions|\$defs):\{Annotat/g)) {
  const schema = vm.runInNewContext(`(${source.slice(match.index, end(match.index))})`);
  const names = schema.definitions ?? schema.$defs;
  // No schema says its revision; each has something that those before it lack.
  const marks = [
    ["2026-07-28", names.DiscoverRequest],
    ["2025-11-25", names.TaskStatus],
    ["2025-06-18", names.ElicitRequest],
    ["2025-03-26", names.AudioContent],
    ["2024-11-05", names.Annotated],
  ];
  found[marks.find(([, mark]) => mark)[0]] ??= schema;
}
process.stdout.write(JSON.stringify(found));
