/* The smallest program: what remains of an exec is the exec. */
int main(void)
{
	return 0;
}
