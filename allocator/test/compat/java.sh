#!/bin/bash
# java: the virtual machine starts, compiles and collects.
source "$(dirname "$0")/lib.sh"
need java javac
with java -version >"$work/version" 2>&1 || { cat "$work/version"; fail "java -version"; }
grep -q -i 'version' "$work/version" || fail "java -version said nothing"
cat >"$work/T.java" <<'SCRIPT'
import java.util.*;
public class T {
    public static void main(String[] a) throws Exception {
        Thread[] threads = new Thread[4];
        long[] sums = new long[4];
        for (int t = 0; t < 4; t++) {
            final int me = t;
            threads[t] = new Thread(() -> {
                Map<String, byte[]> map = new HashMap<>();
                for (int i = 0; i < 40000; i++) map.put("k" + i % 5000, new byte[i % 1000]);
                for (byte[] b : map.values()) sums[me] += b.length;
            });
            threads[t].start();
        }
        for (Thread t : threads) t.join();
        System.out.println(Arrays.toString(sums));
    }
}
SCRIPT
with javac -d "$work" "$work/T.java" || fail "javac"
same java -cp "$work" -Xmx128m T
