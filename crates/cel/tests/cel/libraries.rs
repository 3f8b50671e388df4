//! The libraries: strings, lists, patterns, addresses, quantities, versions, formats, sets.

use super::common::{fails, holds};

#[test]
fn strings() {
    for source in [
        "'héllo'.charAt(1) == 'é' && 'abc'.charAt(3) == ''",
        "'hello'.indexOf('l') == 2 && 'hello'.indexOf('l', 3) == 3 && 'hello'.indexOf('z') == -1",
        "'hello'.indexOf('') == 0 && 'éa'.indexOf('a') == 1",
        "'hello'.lastIndexOf('l') == 3 && 'hello'.lastIndexOf('l', 2) == 2 && 'hello'.lastIndexOf('') == 5",
        "'aaa'.lastIndexOf('aa') == 1 && 'aaa'.lastIndexOf('aa', 0) == 0 && 'a'.lastIndexOf('ab') == -1",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('-') == ''",
        "'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacoCæt'.upperAscii() == 'TACOCæT'",
        "'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'",
        "'ab'.replace('', '-') == '-a-b-' && 'aaa'.replace('a', 'b', 0) == 'aaa'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'a,b'.split(',', 0) == [] && 'aé'.split('') == ['a', 'é'] && 'abc'.split('', 2) == ['a', 'bc']",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'ab'.substring(2) == ''",
        "'  a b\\n\\t '.trim() == 'a b'",
        "'añb'.reverse() == 'bña'",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
    ] {
        holds(source);
    }
    fails("'abc'.charAt(4) == ''", "index out of range: 4");
    fails("'abc'.indexOf('a', 3) == 0", "index out of range: 3");
    fails("'abc'.substring(2, 1) == ''", "invalid substring range. start: 2, end: 1");
    fails("'abc'.substring(-1) == ''", "index out of range: -1");
    fails("[dyn(1)].join() == ''", "type conversion error from list to '[]string'");
}

#[test]
fn formatting() {
    for source in [
        "'%s is %d'.format(['x', dyn(5)]) == 'x is 5'",
        "'%.2f %e %%'.format([1.005, 1234.5]) == '1.00 1.234500e+03 %'",
        "'%b %o %x %X %x'.format([dyn(5), 8, 255, 255u, 'hi']) == '101 10 ff FF 6869'",
        "'%b %x'.format([dyn(true), -255]) == '1 -ff'",
        "'%s'.format([[dyn(1), 'a', 2.5, null]]) == '[1, \"a\", 2.500000, null]'",
        "'%s'.format([{'b': dyn(1), 'a': duration('1s')}]) == '{\"a\":duration(\"1s\"), \"b\":1}'",
        "'%s %s %s'.format([dyn(true), 1.5, timestamp(0)]) == 'true 1.5 1970-01-01T00:00:00Z'",
        "'%s'.format([int]) == 'int' && '%d'.format([18446744073709551615u]) == '18446744073709551615'",
    ] {
        holds(source);
    }
    fails(
        "'%d'.format(['a']) == ''",
        "error during formatting: decimal clause can only be used on integers, was given string",
    );
    fails("'%s'.format([]) == ''", "index 0 out of range");
    fails("'%y'.format([1]) == ''", "error during formatting: unrecognized formatting clause \"y\"");
    fails("'%.999f'.format([1.0]) == ''", "error while converting precision to integer: 999");
}

#[test]
fn lists() {
    for source in [
        "[1, 2, 2].isSorted() && ![2, 1].isSorted() && ['a', 'b'].isSorted() && [].isSorted()",
        "[1, 2].sum() == 3 && [1.5, 1.5].sum() == 3.0 && [1u].sum() == 1u && [].sum() == 0",
        "[duration('1s'), duration('2s')].sum() == duration('3s')",
        "[3, 1, 2].max() == 3 && [3, 1, 2].min() == 1 && ['b', 'a'].min() == 'a' && [true, false].max()",
        "[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(5) == -1",
        "[timestamp(1), timestamp(0)].min() == timestamp(0)",
    ] {
        holds(source);
    }
    fails("[].max() == 1", "max called on empty list");
    fails("[].min() == 1", "min called on empty list");
    fails("[9223372036854775807, 1].sum() == 0", "integer overflow");
}

#[test]
fn patterns() {
    for source in [
        "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
        "'abc'.findAll('x') == [] && 'é1'.matches('^\\\\pL\\\\d$')",
    ] {
        holds(source);
    }
    fails("'a'.find(dyn('(')) == ''", "error parsing regexp: missing closing ): `(`");
}

#[test]
fn sets() {
    for source in [
        "sets.contains([1, 2, 3], [2, 3]) && !sets.contains([1], [2]) && sets.contains([], [])",
        "sets.equivalent([1, 1, 2], [2, 1]) && !sets.equivalent([1], [1, 2])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], []) && sets.intersects(['a'], ['a'])",
    ] {
        holds(source);
    }
}

#[test]
fn urls() {
    for source in [
        "url('https://user@example.com:80/a%20b?k=v&k=w&x').getHost() == 'example.com:80'",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://example.com:80/').getPort() == '80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getHost() == '[::1]:80'",
        "url('https://example.com/a b').getEscapedPath() == '/a%20b'",
        "url('https://example.com/a?k=v&k=w&x=%20').getQuery() == {'k': ['v', 'w'], 'x': [' ']}",
        "url('HTTP://example.com').getScheme() == 'http' && url('/path').getScheme() == ''",
        "url('https://example.com/a') == url('https://example.com/a') && url('/a') != url('/b')",
        "isURL('https://example.com') && isURL('/path') && isURL('mailto:a@b') && !isURL('path') && !isURL('')",
        "!isURL('https://a:b:c/') && !isURL('../up') && !isURL('https://a%zz/') && !isURL('https://[::1')",
    ] {
        holds(source);
    }
    fails(
        "url('path').getHost() == ''",
        "URL parse error during conversion from string: parse \"path\": invalid URI for request",
    );
}

#[test]
fn addresses() {
    for source in [
        "ip('127.0.0.1').isLoopback() && ip('::1').isLoopback() && ip('10.0.0.1').family() == 4 && ip('::1').family() == 6",
        "isIP('1.2.3.4') && isIP('fe80::1') && !isIP('1.2.3') && !isIP('01.2.3.4') && !isIP('fe80::1%eth0')",
        "!isIP('::ffff:1.2.3.4')",
        "ip.isCanonical('fd00::1') && !ip.isCanonical('fd00:0::1')",
        "ip('0.0.0.0').isUnspecified() && ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.0.1').isLinkLocalUnicast()",
        "ip('8.8.8.8').isGlobalUnicast() && !ip('127.0.0.1').isGlobalUnicast() && ip('ff02::1').isLinkLocalMulticast()",
        "ip('1.2.3.4') == ip('1.2.3.4') && ip('1.2.3.4') != ip('1.2.3.5') && string(ip('fd00::1')) == 'fd00::1'",
        "type(ip('1.2.3.4')) == net.IP && type(cidr('10.0.0.0/8')) == net.CIDR",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))",
        "!cidr('10.0.0.0/8').containsIP('11.0.0.0') && !cidr('10.0.0.0/8').containsIP('::1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
        "cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && cidr('10.1.2.3/8').prefixLength() == 8",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8'",
        "cidr('::/0').containsIP('fd00::1') && cidr('0.0.0.0/0').containsIP('1.2.3.4')",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/08') && isCIDR('::/0')",
    ] {
        holds(source);
    }
    fails(
        "ip('x').family() == 4",
        "IP Address \"x\" parse error during conversion from string: ParseAddr(\"x\"): unable to parse IP",
    );
    fails("ip('fe80::1%eth0').family() == 6", "IP address \"fe80::1%eth0\" with zone value is not allowed");
}

#[test]
fn quantities() {
    for source in [
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').isLessThan(quantity('1'))",
        "quantity('1k').asInteger() == 1000 && quantity('1500m').asApproximateFloat() == 1.5",
        "quantity('1').isInteger() && !quantity('1.5').isInteger() && quantity('-1').sign() == -1 && quantity('0').sign() == 0",
        "quantity('1').compareTo(quantity('2')) == -1 && quantity('1k') == quantity('1000')",
        "quantity('1').add(quantity('500m')) == quantity('1500m') && quantity('1').add(2) == quantity('3')",
        "quantity('1').sub(quantity('500m')) == quantity('500m') && quantity('5').sub(2) == quantity('3')",
        "isQuantity('1.3Gi') && !isQuantity('1,3') && !isQuantity('x')",
    ] {
        holds(source);
    }
    fails("quantity('1.5').asInteger() == 1", "cannot convert value to integer");
}

#[test]
fn versions() {
    for source in [
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('1.2.3').isGreaterThan(semver('1.2.2')) && semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))",
        "semver('1.0.0-alpha.9').isLessThan(semver('1.0.0-alpha.10')) && semver('1.0.0-1').isLessThan(semver('1.0.0-a'))",
        "semver('1.0.0-a').isLessThan(semver('1.0.0-a.1')) && semver('1.0.0+a') == semver('1.0.0+b')",
        "semver('1.2.3').compareTo(semver('2.0.0')) == -1 && semver('v1.0', true) == semver('1.0.0')",
        "semver('01.01.01', true) == semver('1.1.1') && isSemver('v1.0', true) && !isSemver('v1.0')",
        "isSemver('1.2.3-rc.1+b') && !isSemver('1.2') && !isSemver('1.2.03') && !isSemver('1.2.3-') && !isSemver('')",
    ] {
        holds(source);
    }
    fails("semver('200K').major() == 1", "No Major.Minor.Patch elements found");
}

#[test]
fn formats() {
    for source in [
        "!format.dns1123Label().validate('my-label').hasValue() && format.dns1123Label().validate('My').hasValue()",
        "!format.dns1123LabelPrefix().validate('my-').hasValue() && format.dns1123Label().validate('my-').hasValue()",
        "!format.dns1123Subdomain().validate('a.b').hasValue() && !format.dns1035Label().validate('a').hasValue()",
        "!format.qualifiedName().validate('a.b/c').hasValue() && format.qualifiedName().validate('a/b/c').hasValue()",
        "!format.labelValue().validate('').hasValue() && !format.uri().validate('http://a').hasValue()",
        "format.uri().validate('a').value() == ['parse \"a\": invalid URI for request']",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
        "format.uuid().validate('x').value() == ['does not match the UUID format']",
        "!format.byte().validate('aGk=').hasValue() && format.byte().validate('!').value() == ['invalid base64']",
        "!format.date().validate('2024-02-29').hasValue() && format.date().validate('2023-02-29').value() == ['invalid date']",
        "!format.datetime().validate('2024-02-29T00:00:00Z').hasValue()",
        "format.named('uuid').value() == format.uuid() && !format.named('nope').hasValue()",
    ] {
        holds(source);
    }
}
