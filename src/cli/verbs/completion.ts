/** `shale completion`: a script that teaches a shell the verbs and their options. */
import { Argument, type Command } from "commander";
import { readCommandTree, SHELLS, type Shell, toCompletionScript } from "../completion.ts";
import { verbCommand } from "../options.ts";
import { print } from "../output.ts";

const INSTALLATION = `
bash:  eval "$(shale completion bash)"   in ~/.bashrc
zsh:   eval "$(shale completion zsh)"    in ~/.zshrc, after compinit
fish:  shale completion fish > ~/.config/fish/completions/shale.fish`;

export function command(): Command {
	return verbCommand("completion", "Prints a completion script for a shell.")
		.usage(SHELLS.join("|"))
		.addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
		.addHelpText("after", INSTALLATION)
		.action(async (shell: Shell) => {
			await print(toCompletionScript(shell, await readCommandTree()));
		});
}
