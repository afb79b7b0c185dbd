/** Completion scripts, made from the table of verbs and the options that each declares. */
import type { Command } from "commander";
import { VERBS } from "./verbs.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;

export type Shell = (typeof SHELLS)[number];

/** A verb or, below `layers`, one of its own. */
export interface CommandNode {
	readonly name: string;
	readonly summary: string;
	readonly options: readonly { readonly flags: readonly string[]; readonly summary: string }[];
	/** What may follow: sub-verbs, or the choices of the first argument. */
	readonly words: readonly CommandNode[];
}

export async function readCommandTree(): Promise<readonly CommandNode[]> {
	return await Promise.all(
		VERBS.map(async ({ name, summary, load }) => ({
			...toNode((await load()).command()),
			name,
			summary,
		})),
	);
}

function toNode(command: Command): CommandNode {
	const choices = command.registeredArguments[0]?.argChoices ?? [];
	const options = [...command.options, command.createHelp().visibleOptions(command).at(-1)].filter(
		(option, index, all) => option !== undefined && all.indexOf(option) === index,
	);
	return {
		name: command.name(),
		summary: command.description(),
		options: options.flatMap((option) =>
			option
				? [{ flags: [option.short, option.long].filter((flag) => flag != null), summary: option.description }]
				: [],
		),
		words: [
			...command.commands.map(toNode),
			...choices.map((name) => ({ name, summary: "", options: [], words: [] })),
		],
	};
}

export function toCompletionScript(shell: Shell, tree: readonly CommandNode[]): string {
	return { bash: toBash, zsh: toZsh, fish: toFish }[shell](tree);
}

/** What completes the words so far: `""` for the verb itself, `layers build` for what follows it. */
function toContexts(
	tree: readonly CommandNode[],
): readonly { readonly path: string; readonly words: string[] }[] {
	const contexts = [{ path: "", words: [...tree.map(({ name }) => name), "help"] }];
	const visit = (node: CommandNode, path: string): void => {
		contexts.push({
			path,
			words: [...node.words.map(({ name }) => name), ...node.options.flatMap(({ flags }) => flags)],
		});
		for (const word of node.words) if (word.options.length > 0) visit(word, `${path} ${word.name}`);
	};
	for (const node of tree) visit(node, node.name);
	contexts.push({ path: "help", words: tree.map(({ name }) => name) });
	return contexts;
}

function toBash(tree: readonly CommandNode[]): string {
	const cases = toContexts(tree).map(({ path, words }) => `\t\t"${path}") words="${words.join(" ")}" ;;`);
	return `# bash completion of shale
_shale() {
	local path="" words="" word i
	for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
		word="\${COMP_WORDS[i]}"
		[[ $word == -* ]] && break
		[[ $i -gt 1 && $path != layers ]] && break
		path="\${path:+$path }$word"
	done
	for ((i = 1; i < COMP_CWORD; i++)); do
		# What follows -- belongs to the program in the sandbox.
		[[ "\${COMP_WORDS[i]}" == -- ]] && return
	done
	case "$path" in
${cases.join("\n")}
	esac
	COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _shale shale
`;
}

function toZsh(tree: readonly CommandNode[]): string {
	const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
	const entry = (name: string, summary: string): string =>
		quote(`${name.replaceAll(":", "\\:")}:${summary.replaceAll(":", "\\:")}`);
	const list = (node: Pick<CommandNode, "words" | "options">): string =>
		[
			...node.words.map(({ name, summary }) => entry(name, summary)),
			...node.options.flatMap(({ flags, summary }) => flags.map((flag) => entry(flag, summary))),
		].join(" ");
	const cases: string[] = [];
	const visit = (node: CommandNode, path: string): void => {
		cases.push(`\t\t${quote(path)}) words_here=(${list(node)}) ;;`);
		for (const word of node.words) if (word.options.length > 0) visit(word, `${path} ${word.name}`);
	};
	visit({ name: "", summary: "", options: [], words: tree }, "");
	for (const node of tree) visit(node, node.name);
	return `#compdef shale
# zsh completion of shale
_shale() {
	local -a words_here
	local path_here="" word
	integer i
	for ((i = 2; i < CURRENT && i < 4; i++)); do
		word="\${words[i]}"
		[[ $word == -* ]] && break
		[[ $i -gt 2 && $path_here != layers ]] && break
		path_here="\${path_here:+$path_here }$word"
	done
	# What follows -- belongs to the program in the sandbox.
	(( \${words[(I)--]} > 0 && \${words[(I)--]} < CURRENT )) && { _files; return }
	case "$path_here" in
${cases.join("\n")}
	esac
	_describe -t words shale words_here || _files
}
if [[ \${funcstack[1]} == _shale ]]; then _shale; else compdef _shale shale; fi
`;
}

function toFish(tree: readonly CommandNode[]): string {
	const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
	const lines = tree.map(
		({ name, summary }) => `complete -c shale -n __fish_use_subcommand -f -a ${name} -d ${quote(summary)}`,
	);
	const visit = (node: CommandNode, condition: string): void => {
		for (const { flags, summary } of node.options) {
			const forms = flags.map((flag) =>
				flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
			);
			lines.push(`complete -c shale -n ${quote(condition)} ${forms.join(" ")} -d ${quote(summary)}`);
		}
		for (const word of node.words) {
			const isLast = word.options.length === 0;
			lines.push(
				`complete -c shale -n ${quote(condition)} -f -a ${word.name}${isLast ? "" : ` -d ${quote(word.summary)}`}`,
			);
			if (!isLast) visit(word, `${condition}; and __fish_seen_subcommand_from ${word.name}`);
		}
	};
	for (const node of tree) visit(node, `__fish_seen_subcommand_from ${node.name}`);
	return `# fish completion of shale\n${lines.join("\n")}\n`;
}
