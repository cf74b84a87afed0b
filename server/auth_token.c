// SPDX-License-Identifier: Apache-2.0
// The file of --tokens, and --hash-token, which makes its lines. Loop thread (and main, before it).
// A line is a name, the SHA-256 of the token's bytes in hexadecimal, and scopes joined by commas;
// '#' begins a comment:
//
//     # who        sha-256 of the token                                              may
//     studio-a     2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  sync,info
//     prometheus   fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9  admin
//
// A name may have several tokens (the old and the new one while they change). A plain hash is
// enough because tokens are drawn at random: nobody guesses 16 random bytes, slow hash or not.
#include "server/auth_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

// A line of the file: a name, a hash, scopes and a comment; lines are counted on average.
enum { LINE_BYTES = 512, NAME_MAX_SIZE = 63, TOKEN_SIZE_MIN = 20 };

struct token {
    uint8_t hash[SHA256_DIGEST_LENGTH];
    char name[NAME_MAX_SIZE + 1];
    int scopes;
};

struct ls_auth_tokens {
    int count;
    struct token token[];
};

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hash(uint8_t out[SHA256_DIGEST_LENGTH], const char *word)
{
    if (strlen(word) != 2 * SHA256_DIGEST_LENGTH)
        return false;
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        int high = hex_of(word[2 * i]), low = hex_of(word[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int take_scopes(const char *word)
{
    int scopes = 0;

    for (;;) {
        size_t size = strcspn(word, ",");
        int scope = ls_auth_scope(word, size);

        if (!scope)
            return 0;
        scopes |= scope;
        if (!word[size])
            return scopes;
        word += size + 1;
    }
}

static bool is_name(const char *word)
{
    char clean[64];

    ls_auth_name(clean, word, strlen(word));
    return strlen(word) <= NAME_MAX_SIZE && !strcmp(clean, word);
}

// One line, without its end. 1: a token, 0: nothing in it.
static int take_line(struct token *out, char *line, struct ls_err *err)
{
    char *word[4] = {0}, *rest = NULL;
    int count = 0;

    line[strcspn(line, "#")] = '\0';
    for (char *w = strtok_r(line, " \t\r", &rest); w && count < 4;
         w = strtok_r(NULL, " \t\r", &rest))
        word[count++] = w;
    if (count == 0)
        return 0;
    if (count != 3)
        return ls_fail(err, LS_EFIELD, "a line is NAME SHA256 SCOPES, this one has %s words",
                       count < 3 ? "fewer" : "more");
    if (!is_name(word[0]))
        return ls_fail(err, LS_EFIELD, "a name is at most %d visible ASCII characters",
                       NAME_MAX_SIZE);
    if (!take_hash(out->hash, word[1])) // never echoed: it may be a token put there by mistake
        return ls_fail(err, LS_EFIELD,
                       "the second word is not a SHA-256 of 64 hexadecimal digits "
                       "(lipstreamd --hash-token prints it)");
    out->scopes = take_scopes(word[2]);
    if (!out->scopes)
        return ls_fail(err, LS_EFIELD, "\"%.40s\" is no list of sync, info, admin, by commas",
                       word[2]);
    memcpy(out->name, word[0], strlen(word[0]) + 1);
    return 1;
}

static int take_lines(struct ls_auth_tokens *tokens, char *text, int count_max, struct ls_err *err)
{
    char *next;

    for (int number = 1; text; number++, text = next) {
        struct token token = {.scopes = 0};
        int r;

        next = strchr(text, '\n');
        if (next)
            *next++ = '\0';
        r = take_line(&token, text, err);
        if (r > 0 && tokens->count == count_max)
            r = ls_fail(err, LS_EFIELD, "more than %d tokens (--tokens-max)", count_max);
        for (int i = 0; r > 0 && i < tokens->count; i++)
            if (!memcmp(tokens->token[i].hash, token.hash, sizeof token.hash))
                r = ls_fail(err, LS_EFIELD, "this token stands in the file twice");
        if (r < 0) {
            ls_fail_prefix(err, "line %d", number);
            return r;
        }
        if (r > 0)
            tokens->token[tokens->count++] = token;
    }
    return tokens->count ? 0 : ls_fail(err, LS_EFIELD, "has no token");
}

int ls_auth_tokens_read(struct ls_auth_tokens **out, const struct ls_options *opt,
                        struct ls_err *err)
{
    int count_max = (int)opt->tokens_max, r;
    struct ls_auth_tokens *tokens = NULL;
    char *text = NULL;
    size_t size = 0;

    r = ls_auth_read_file(&text, &size, "tokens", opt->tokens, (size_t)count_max * LINE_BYTES,
                          S_IROTH | S_IWOTH, err);
    if (r < 0)
        return r;
    tokens = calloc(1, sizeof *tokens + (size_t)count_max * sizeof tokens->token[0]);
    if (!tokens)
        r = ls_fail(err, LS_ENOMEM, "%d tokens", count_max);
    else if (strlen(text) != size)
        r = ls_fail(err, LS_EFIELD, "is no text: it holds a zero byte");
    else
        r = take_lines(tokens, text, count_max, err);
    free(text);
    if (r < 0) {
        ls_fail_prefix(err, "%s", opt->tokens);
        if (err && r == LS_EFIELD)
            snprintf(err->field, sizeof err->field, "tokens");
        ls_auth_tokens_free(&tokens);
        return r;
    }
    *out = tokens;
    return 0;
}

void ls_auth_tokens_free(struct ls_auth_tokens **tokens)
{
    free(*tokens);
    *tokens = NULL;
}

int ls_auth_tokens_count(const struct ls_auth_tokens *tokens)
{
    return tokens ? tokens->count : 0;
}

bool ls_auth_tokens_find(const struct ls_auth_tokens *tokens, struct ls_identity *out,
                         const char *token, size_t size)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    unsigned found = 0; // 1 + the index

    SHA256((const uint8_t *)token, size, hash);
    for (int i = 0; i < tokens->count; i++) {
        unsigned same = CRYPTO_memcmp(tokens->token[i].hash, hash, sizeof hash) == 0;

        found |= (0u - same) & (unsigned)(i + 1); // hashes differ, so at most one is the same
    }
    if (!found)
        return false;
    memcpy(out->name, tokens->token[found - 1].name, sizeof out->name);
    out->scopes = tokens->token[found - 1].scopes;
    return true;
}

// A line from standard input without its end; what is typed is not shown. -1: none, or too long.
static int read_secret(char *out, size_t size)
{
    struct termios shown, hidden;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &shown) == 0;
    char *line;

    if (terminal) {
        fputs("token: ", stderr);
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    line = fgets(out, (int)size, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    if (!line || (!strchr(out, '\n') && !feof(stdin)))
        return -1;
    out[strcspn(out, "\r\n")] = '\0';
    return (int)strlen(out);
}

int ls_auth_hash_token(void)
{
    char token[65536 + 2]; // as much as --metadata-bytes-max ever lets through
    uint8_t hash[SHA256_DIGEST_LENGTH];
    int size = read_secret(token, sizeof token);
    bool fits = size >= 0 && ls_auth_is_token(token, (size_t)size);

    if (fits && size >= TOKEN_SIZE_MIN)
        SHA256((const uint8_t *)token, (size_t)size, hash);
    OPENSSL_cleanse(token, sizeof token);
    if (size < TOKEN_SIZE_MIN && (fits || size == 0)) {
        fprintf(stderr,
                "lipstreamd: the token has %d characters; fewer than %d could be guessed.\n"
                "  openssl rand -base64 32    draws a good one\n",
                size, TOKEN_SIZE_MIN);
        return EXIT_FAILURE;
    }
    if (!fits) {
        fprintf(stderr, "lipstreamd: a token is one line of letters, digits and -._~+/, then any "
                        "number of =\n");
        return EXIT_FAILURE;
    }
    printf("token-%02x%02x%02x%02x ", hash[0], hash[1], hash[2], hash[3]);
    for (size_t i = 0; i < sizeof hash; i++)
        printf("%02x", hash[i]);
    printf(" sync,info\n");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
