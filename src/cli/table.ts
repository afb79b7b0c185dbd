/** Columns for people. */

/**
 * Rows under a heading, two spaces between columns, no trailing spaces. Text that is not ours may carry
 * terminal escapes, so control characters are shown as `?`.
 */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
	const lines = [heading, ...rows.map((row) => row.map(toPrintable))];
	const widths = heading.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
	return lines
		.map((line) => `${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd())
		.map((line) => `${line}\n`)
		.join("");
}

/** SECURITY: what a sandbox chose (a command line, a label) must not write to the user's terminal as a program. */
export function toPrintable(text: string): string {
	return text.replace(/\p{Cc}/gu, "?");
}

/** `5s`, `12m`, `3h`, `8d` since a time in ISO 8601. */
export function formatAge(since: string, now: Date): string {
	return formatSeconds((now.getTime() - Date.parse(since)) / 1000);
}

/** The same of a time; none below zero. */
export function formatSeconds(exact: number): string {
	const seconds = Math.max(0, Math.floor(exact));
	if (seconds < 120) return `${seconds}s`;
	if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
	if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
	return `${Math.floor(seconds / 86_400)}d`;
}

/** Words as a line that a POSIX shell reads back as the same words. */
export function toShellWords(words: readonly string[]): string {
	return words
		.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
		.join(" ");
}
